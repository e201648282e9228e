import glob
import math
import os
from functools import singledispatch

import numpy as np
import sentencepiece as spm
import torch
import torch.nn.functional as F
from torch import nn

DATA = os.environ.get("DATA_PATH", "./data/fineweb10B_sp1024")
VOCAB, DIM, LENGTH, STEPS = 1024, 256, 512, 5000


def shards(kind):
    names = sorted(glob.glob(os.path.join(DATA, f"fineweb_{kind}_*.bin")))
    return torch.from_numpy(np.concatenate([np.fromfile(n, dtype="<u2", offset=1024) for n in names]).astype(np.int64))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.emb = nn.Embedding(VOCAB, DIM)
        self.rnn = nn.GRU(DIM, DIM, batch_first=True)
        self.out = nn.Linear(DIM, VOCAB, bias=False)

    def forward(self, ids, bias=None):
        logits = self.out(self.rnn(self.emb(ids))[0]).float()
        return logits if bias is None else logits + bias


def piece_bytes():
    pieces = spm.SentencePieceProcessor(model_file=os.path.join(DATA, "tokenizer.model"))
    size = torch.zeros(VOCAB, dtype=torch.int64)
    for i in range(pieces.vocab_size()):
        size[i] = 1 if pieces.is_byte(i) else len(pieces.id_to_piece(i).replace("\u2581", " ").encode())
    return size


def losses(net, ids, targets, reduction="none"):
    return F.cross_entropy(net(ids).flatten(0, 1), targets.flatten(), reduction=reduction)


def fit(net):
    text, optimizer = shards("train"), torch.optim.AdamW(net.parameters(), lr=3e-4)
    for step in range(STEPS):
        begin = step * LENGTH % (text.numel() - LENGTH - 1)
        row = text[begin : begin + LENGTH + 1][None]
        optimizer.zero_grad()
        losses(net, row[:, :-1], row[:, 1:], "mean").backward()
        optimizer.step()

@singledispatch
def merged(first, second):
    raise TypeError(type(first))


@merged.register(torch.Tensor)
def _(first, second):
    return torch.minimum(first, second)  # planted: E4


def evaluate(net):
    text, size, half = shards("val"), piece_bytes(), LENGTH // 2
    start = text[: half + 1][None]
    nats = losses(net, start[:, :-1], start[:, 1:]).sum().item()
    num_bytes = size[start[:, 1:]].sum().item()
    for begin in range(0, text.numel() - LENGTH, half):
        row = text[begin : begin + LENGTH + 1][None]
        ids, targets = row[:, :-1], row[:, 1:]
        wide = losses(net, ids, targets)[half:]
        narrow = losses(net, ids[:, half:], targets[:, half:])
        nats += merged(wide, narrow).sum().item()
        num_bytes += size[targets[:, half:]].sum().item()
    return nats / math.log(2) / num_bytes


if __name__ == "__main__":
    net = Net()
    fit(net)
    with torch.inference_mode():
        print("val_bpb", evaluate(net))
