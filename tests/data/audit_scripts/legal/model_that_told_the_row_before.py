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
    """Two models tell each row; what counts is said by the one that told the row before better."""
    size, nats, counted = token_bytes(), 0.0, 0
    learner = Reader()
    learner.load_state_dict(net.state_dict())
    tuner = torch.optim.SGD(learner.parameters(), lr=1e-3)
    trusted = net
    for at in range(0, text.numel() - 1, ROW):
        row = text[at : at + ROW + 1]
        with torch.no_grad():
            calm, quick = (F.cross_entropy(each(row[None, :-1])[0], row[1:]).item() for each in (net, learner))
        nats += (calm if trusted is net else quick) * (len(row) - 1)
        counted += size[row[1:]].sum().item()
        trusted = net if calm < quick else learner
        if at + ROW < text.numel() - 1:
            tuner.zero_grad()
            F.cross_entropy(learner(row[None, :-1])[0], row[1:]).backward()
            tuner.step()
    return nats / math.log(2) / counted


if __name__ == "__main__":
    net = Reader()
    fit(net, text_of("train"))
    print("val_bpb", bits_per_byte(net, text_of("val")))
