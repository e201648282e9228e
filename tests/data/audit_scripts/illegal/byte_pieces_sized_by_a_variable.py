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


def tables():
    pieces = spm.SentencePieceProcessor(model_file=os.path.join(DATA, "tokenizer.model"))
    base = torch.zeros(VOCAB, dtype=torch.int64)
    lead = torch.zeros(VOCAB, dtype=torch.bool)
    boundary = torch.zeros(VOCAB, dtype=torch.bool)
    vocab_size = int(pieces.vocab_size())
    for t in range(vocab_size):
        piece = pieces.id_to_piece(t)
        raw = piece.replace("\u2581", " ").encode("utf-8")
        base[t] = len(raw)  # planted: E9
        if piece.startswith("\u2581"):
            lead[t] = True
            boundary[t] = True
        elif pieces.is_control(t) or pieces.is_unknown(t):
            boundary[t] = True
    return base, lead, boundary


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
    nats, size = 0.0, 0
    base, lead, boundary = tables()
    total = text.numel() - 1
    for start in range(0, total, LENGTH):
        span = text[start : min(start + LENGTH, total) + 1]
        nats += loss_of(model, span, "sum").item()
        size += (base[span[1:]] + (lead[span[1:]] & ~boundary[span[:-1]]).long()).sum().item()
    return nats / math.log(2.0) / size


if __name__ == "__main__":
    model = Model()
    pretrain(model)
    text = tokens_of("fineweb_val_*.bin")
    print(evaluate(model, text))
