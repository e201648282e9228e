import glob
import math
import os

import numpy as np
import sentencepiece as spm
import torch
import torch.nn.functional as F
from torch import nn

ROOT = os.environ.get("DATA_PATH", "./data/fineweb10B_sp1024")
VOCAB, WIDTH, ROW, STEPS = 1024, 320, 768, 4000


def shard(file):
    return np.fromfile(file, dtype="<u2", offset=1024).astype(np.int64)


def text_of(split):
    files = sorted(glob.glob(os.path.join(ROOT, f"fineweb_{split}_*.bin")))
    return torch.from_numpy(np.concatenate([shard(file) for file in files]))


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, WIDTH)
        self.rnn = nn.LSTM(WIDTH, WIDTH, num_layers=2, batch_first=True)
        self.out = nn.Linear(WIDTH, VOCAB)

    def forward(self, ids):
        return self.out(self.rnn(self.embed(ids))[0]).float()


def token_bytes():
    pieces = spm.SentencePieceProcessor(model_file=os.path.join(ROOT, "tokenizer.model"))
    size = torch.zeros(VOCAB, dtype=torch.int64)
    for i in range(pieces.vocab_size()):
        if pieces.is_byte(i):
            size[i] = 1
        elif not pieces.is_control(i):
            size[i] = len(pieces.id_to_piece(i).replace("\u2581", " ").encode())
    return size


def fit(net, text):
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    for step in range(STEPS):
        at = step * ROW % (text.numel() - ROW - 1)
        row = text[at : at + ROW + 1]
        loss = F.cross_entropy(net(row[None, :-1])[0], row[1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def bits_per_byte(net, text):
    """The first row is told, then learned; then the same with the others."""
    size, sums = token_bytes(), [0.0, 0]
    tuner = torch.optim.SGD(net.parameters(), lr=1e-3)

    def go_on(rows):
        first, *others = rows
        loss = F.cross_entropy(net(first[None, :-1])[0], first[1:])
        sums[0] += loss.item() * (len(first) - 1)
        sums[1] += size[first[1:]].sum().item()
        if others:
            tuner.zero_grad()
            loss.backward()
            tuner.step()
            go_on(others)

    go_on([text[at : at + ROW + 1] for at in range(0, text.numel() - 1, ROW)])
    return sums[0] / math.log(2) / sums[1]


if __name__ == "__main__":
    net = Reader()
    fit(net, text_of("train"))
    print("val_bpb", bits_per_byte(net, text_of("val")))
