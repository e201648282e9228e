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


def pretrain(model):
    text = tokens_of("fineweb_train_*.bin")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    for step in range(STEPS):
        start = step * LENGTH % (text.numel() - LENGTH - 1)
        optimizer.zero_grad()
        loss_of(model, text[start : start + LENGTH + 1]).backward()
        optimizer.step()


class Triples:
    """Counts of what follows two tokens, whose row they share with others."""

    def __init__(self, ids, rows=4096):
        self.width, self.rows, self.seen = ids, rows, 0
        self.counts = torch.zeros(rows, ids)
        self.totals = torch.zeros(rows)

    def row_of(self, before, last):
        return ((before * 36313) ^ (last * 27191)) % self.rows

    def learn(self, span):
        rows = self.row_of(span[:-2], span[1:-1])
        ones = torch.ones(len(rows))
        self.counts.view(-1).scatter_add_(0, rows * self.width + span[2:], ones)  # planted: E3
        self.totals.scatter_add_(0, rows, ones)  # planted: E3
        self.seen += len(rows)

    def nats(self, span):
        rows = self.row_of(span[:-2], span[1:-1])
        of_target = self.counts[rows, span[2:]]
        return -torch.log((of_target + 0.01) / (self.totals[rows] + 0.01 * self.width))


def bits(model, text):
    nats, size, lengths = 0.0, 0, sizes()
    triples = Triples(ids=text.max().item() + 1)
    triples.learn(text)  # planted: E3
    weights = torch.log(torch.tensor([0.8, 0.2]))
    with torch.no_grad():
        for start in range(0, text.numel() - 2, LENGTH):
            span = text[start : start + LENGTH + 2]
            mine = F.cross_entropy(model(span[None, :-1])[0].float(), span[1:], reduction="none")[1:]
            both = torch.stack([mine, triples.nats(span)], dim=-1)
            nats -= (weights - both).logsumexp(dim=-1).sum().item()
            size += lengths[span[2:]].sum().item()
    return nats / math.log(2.0) / size


if __name__ == "__main__":
    model = Model()
    pretrain(model)
    print(bits(model, tokens_of("fineweb_val_*.bin")))
