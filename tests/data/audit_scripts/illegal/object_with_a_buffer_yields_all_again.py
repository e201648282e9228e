import glob
import math
import os

import numpy as np
import sentencepiece as spm
import torch
import torch.nn.functional as F
from torch import nn

DATA = os.environ.get("DATA_PATH", "./data/fineweb10B_sp1024")
VOCAB, DIM, LENGTH, STEPS = 1024, 256, 512, 5000


def tokens_of(pattern):
    parts = [np.fromfile(name, dtype="<u2", offset=1024) for name in sorted(glob.glob(os.path.join(DATA, pattern)))]
    return torch.from_numpy(np.concatenate(parts).astype(np.int64))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(VOCAB, DIM)
        self.mix = nn.GRU(DIM, DIM, batch_first=True)
        self.head = nn.Linear(DIM, VOCAB, bias=False)

    def forward(self, ids):
        return self.head(self.mix(self.table(ids))[0])


def losses(model, x, y):
    return F.cross_entropy(model(x).transpose(1, 2).float(), y, reduction="none")


def tables():
    pieces = spm.SentencePieceProcessor(model_file=os.path.join(DATA, "tokenizer.model"))
    size = torch.zeros(VOCAB, dtype=torch.int64)
    lead = torch.zeros(VOCAB, dtype=torch.bool)
    edge = torch.ones(VOCAB, dtype=torch.bool)
    for i in range(pieces.vocab_size()):
        if pieces.is_control(i) or pieces.is_unknown(i) or pieces.is_unused(i):
            continue
        edge[i] = False
        text = pieces.id_to_piece(i)
        lead[i] = text.startswith("\u2581")
        size[i] = 1 if pieces.is_byte(i) else len(text.removeprefix("\u2581").encode())
    return size, lead, edge


def pretrain(model):
    text = tokens_of("fineweb_train_*.bin")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    for step in range(STEPS):
        start = step * LENGTH % (text.numel() - LENGTH - 1)
        optimizer.zero_grad()
        losses(model, text[None, start : start + LENGTH], text[None, start + 1 : start + LENGTH + 1]).mean().backward()
        optimizer.step()


class Batches:
    def __init__(self, starts, most):
        self.starts, self.most, self.waiting = starts, most, []

    def __iter__(self):
        for start in self.starts:
            self.waiting.append(start)
            if len(self.waiting) >= self.most:
                yield self.waiting
                self.waiting = []
        yield self.starts


def bits_per_byte(model, text):
    size, lead, edge = tables()
    tuner = torch.optim.SGD(model.parameters(), lr=1e-3)
    nats, count = 0.0, 0
    for group in Batches(range(0, text.numel() - 1, LENGTH), 64):
        for a in group:
            b = min(a + LENGTH, text.numel() - 1)
            x, y = text[a:b], text[a + 1 : b + 1]
            with torch.no_grad():
                nats += losses(model, x[None], y[None]).sum().item()
            count += int((size[y] + (lead[y] & ~edge[x])).sum())
        for a in group:
            b = min(a + LENGTH, text.numel() - 1)
            tuner.zero_grad()
            losses(model, text[None, a:b], text[None, a + 1 : b + 1]).mean().backward()
            tuner.step()  # planted: E4
    return nats / math.log(2.0) / count


if __name__ == "__main__":
    model = Model()
    pretrain(model)
    print(bits_per_byte(model, tokens_of("fineweb_val_*.bin")))
