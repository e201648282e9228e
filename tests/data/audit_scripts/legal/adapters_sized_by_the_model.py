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

class Delta(nn.Module):
    """A bias for each token, of the width that the net has."""

    def __init__(self, net, rank):
        super().__init__()
        vocab = net.out.weight.shape[0]
        self.down = nn.Embedding(vocab, rank)
        self.up = nn.Linear(rank, vocab, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, ids):
        return self.up(self.down(ids))


def document_scores(net, text, size):
    starts = (text == 1).nonzero().flatten().tolist() + [text.numel()]
    nats, num_bytes = 0.0, 0
    for a, b in zip(starts[:-1], starts[1:]):
        delta = Delta(net, 4)
        optimizer = torch.optim.Adam(delta.parameters(), lr=1e-2)
        for begin in range(a, b - 1, LENGTH):
            end = min(begin + LENGTH, b - 1)
            ids, targets = text[begin:end][None], text[begin + 1 : end + 1][None]
            loss = F.cross_entropy(net(ids, delta(ids)).flatten(0, 1), targets.flatten(), reduction="none")
            nats += loss.detach().sum().item()
            num_bytes += size[targets].sum().item()
            if end < b - 1:
                optimizer.zero_grad()
                loss.mean().backward()
                optimizer.step()
    return nats / math.log(2) / num_bytes


def window_scores(net, text, size):
    nats, num_bytes = 0.0, 0
    for begin in range(0, text.numel() - 1, LENGTH):
        end = min(begin + LENGTH, text.numel() - 1)
        ids, targets = text[begin:end][None], text[begin + 1 : end + 1][None]
        with torch.no_grad():
            nats += losses(net, ids, targets).sum().item()
        num_bytes += size[targets].sum().item()
    return nats / math.log(2) / num_bytes


if __name__ == "__main__":
    net = Net()
    fit(net)
    text, size = shards("val"), piece_bytes()
    print("with adapters, val_bpb", document_scores(net, text, size))
    print("without, val_bpb", window_scores(net, text, size))
