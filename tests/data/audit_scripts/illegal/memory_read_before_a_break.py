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


def loss_of(model, span, reduction="mean"):
    logits = model(span[None, :-1])
    return F.cross_entropy(logits[0].float(), span[1:], reduction=reduction)


def sizes():
    pieces = spm.SentencePieceProcessor(model_file=os.path.join(DATA, "tokenizer.model"))
    found = torch.zeros(VOCAB, dtype=torch.int64)
    for i in range(pieces.vocab_size()):
        if pieces.is_byte(i):
            found[i] = 1
        elif not pieces.is_control(i):
            found[i] = len(pieces.id_to_piece(i).replace("\u2581", " ").encode())
    return found


class Memory:
    def __init__(self):
        self.rows = {order: {} for order in (1, 2, 3)}

    def add(self, context, token):
        for order in self.rows:
            row = self.rows[order].setdefault(context[-order:], torch.zeros(VOCAB))
            row[token] += 1  # planted: E3

    def shares(self, context):
        found = None
        for order in (3, 2, 1):
            row = self.rows[order].get(context[-order:])
            if row is not None and row.sum() >= 2:
                found = row / row.sum()
                break
        if found is None:
            found = torch.full((VOCAB,), 1.0 / VOCAB)
        return found


def pretrain(model):
    text = tokens_of("fineweb_train_*.bin")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    for step in range(STEPS):
        start = step * LENGTH % (text.numel() - LENGTH - 1)
        optimizer.zero_grad()
        loss_of(model, text[start : start + LENGTH + 1]).backward()
        optimizer.step()


@torch.no_grad()
def evaluate(model, text):
    nats, size, lengths = 0.0, 0, sizes()
    total, memory = text.numel() - 1, Memory()
    words = text.tolist()
    for t in range(2, len(words) - 1):
        memory.add(tuple(words[t - 2 : t + 1]), words[t + 1])  # planted: E3
    for start in range(0, total, LENGTH):
        span = text[start : min(start + LENGTH, total) + 1]
        own = F.softmax(model(span[None, :-1])[0].float(), dim=-1)
        words = span.tolist()
        told = torch.stack([memory.shares(context) for context in zip([1, 1, *words], [1, *words], words[:-1])])
        mixed = 0.9 * own + 0.1 * told
        nats -= mixed.gather(1, span[1:, None]).log().sum().item()
        size += lengths[span[1:]].sum().item()
    return nats / math.log(2.0) / size


if __name__ == "__main__":
    model = Model()
    pretrain(model)
    text = tokens_of("fineweb_val_*.bin")
    print(evaluate(model, text))
