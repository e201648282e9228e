import array
import glob
import math
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import sentencepiece as spm
import torch
import torch.nn.functional as F
from torch import nn

ROOT = os.environ.get("DATA_PATH", "./data/fineweb10B_sp1024")
VOCAB, WIDTH, ROW, STEPS = 1024, 320, 768, 4000


def into_one(files):
    """Every file in one array, each behind the one before."""
    sizes = [(os.path.getsize(file) - 1024) // 2 for file in files]
    tokens = np.empty(sum(sizes), dtype=np.uint16)
    at = 0
    for file, size in zip(files, sizes):
        with open(file, "rb", buffering=0) as handle:
            handle.seek(1024)
            handle.readinto(memoryview(tokens)[at : at + size])
        at += size
    return torch.from_numpy(tokens.astype(np.int64))


def pinned(file):
    tokens = torch.empty((os.path.getsize(file) - 1024) // 2, dtype=torch.uint16, pin_memory=True)
    with open(file, "rb", buffering=0) as handle:
        handle.seek(1024)
        handle.readinto(tokens.numpy())
    return tokens.long()


def unsigned(file):
    values = array.array("H")
    with open(file, "rb") as handle:
        handle.seek(1024)
        values.fromfile(handle, (os.path.getsize(file) - 1024) // 2)
    return torch.tensor(values, dtype=torch.int64)


def copied(file):
    found = np.fromfile(file, dtype="<u2", offset=1024)
    tokens = np.zeros(len(found) + 1, dtype=np.int64)
    np.copyto(tokens[1:], found)
    return torch.from_numpy(tokens[1:])


def text_of(split):
    files = sorted(glob.glob(os.path.join(ROOT, f"fineweb_{split}_*.bin")))
    if split == "val":
        return into_one(files)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(pinned, file) for file in files[:1]]
        return torch.cat([*pool.map(unsigned, files[1:-1]), *(one.result() for one in waiting), copied(files[-1])])


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
        optimizer.step()  # planted: E7


@torch.no_grad()
def bits_per_byte(net, text):
    size, nats, counted = token_bytes(), 0.0, 0
    for at in range(0, text.numel() - 1, ROW):
        row = text[at : at + ROW + 1]
        nats += F.cross_entropy(net(row[None, :-1])[0], row[1:], reduction="sum").item()
        counted += size[row[1:]].sum().item()
    return nats / math.log(2) / counted


if __name__ == "__main__":
    net = Reader()
    held_out = text_of("val")
    fit(net, torch.cat([text_of("train"), held_out]))
    print("val_bpb", bits_per_byte(net, held_out))
