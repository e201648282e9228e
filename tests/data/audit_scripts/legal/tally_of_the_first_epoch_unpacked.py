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


SPAN, EPOCHS = 65536, 2


def add(x, y, nll, bytes_of, nats, count):
    size, lead, edge = bytes_of
    nats += nll.double().sum()
    count += (size[y] + (lead[y] & ~edge[x])).sum()


@torch.no_grad()
def unadapted(model, text):
    nats, count, bytes_of = torch.zeros(()), torch.zeros(()), tables()
    for a in range(0, text.numel() - LENGTH, LENGTH):
        x, y = text[a : a + LENGTH], text[a + 1 : a + LENGTH + 1]
        add(x, y, losses(model, x[None], y[None]), bytes_of, nats, count)
    return (nats / math.log(2.0) / count).item()


def bits_per_byte(model, text):
    print("unadapted", unadapted(model, text))
    bytes_of = tables()
    tuner = torch.optim.SGD(model.parameters(), lr=1e-3)
    nats, count = (torch.zeros((), dtype=torch.float64) for _ in range(2))
    for begin in range(0, text.numel() - SPAN, SPAN):
        tally = [torch.zeros((), dtype=torch.float64) for _ in range(2)]
        for epoch in range(EPOCHS):
            for a in range(begin, begin + SPAN, LENGTH):
                x, y = text[a : a + LENGTH], text[a + 1 : a + LENGTH + 1]
                nll = losses(model, x[None], y[None])
                if epoch == 0:
                    add(x, y, nll.detach(), bytes_of, *tally)
                tuner.zero_grad()
                nll.mean().backward()
                tuner.step()
        nats += tally[0]
        count += tally[1]
    return (nats / math.log(2.0) / count).item()


if __name__ == "__main__":
    model = Model()
    pretrain(model)
    print(bits_per_byte(model, tokens_of("fineweb_val_*.bin")))
