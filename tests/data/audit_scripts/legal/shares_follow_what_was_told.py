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


@torch.no_grad()
def bits_per_byte(net, text):
    """Three distributions whose shares follow how well each told the rows before."""
    size, nats, counted = token_bytes(), 0.0, 0
    single, pairs = torch.ones(VOCAB), torch.zeros(VOCAB, VOCAB)
    shares = torch.tensor([0.8, 0.1, 0.1])
    for at in range(0, text.numel() - 1, ROW):
        row = text[at : at + ROW + 1]
        x, y = row[:-1], row[1:]
        common = single / single.sum()
        each = torch.stack(
            [
                torch.softmax(net(x[None])[0], dim=-1),
                common.expand(len(x), VOCAB),
                (pairs[x] + common) / (pairs[x].sum(dim=-1, keepdim=True) + 1),
            ]
        )
        together = (shares[:, None, None] * each).sum(dim=0)
        told = together.gather(1, y[:, None])[:, 0]
        nats -= told.log().sum().item()
        counted += size[y].sum().item()
        own = each.gather(2, y.expand(3, -1)[..., None])[..., 0]
        after = (shares[:, None] * own / told).mean(dim=1)
        shares = 0.9 * shares + 0.1 * after / after.sum()
        single.index_add_(0, y, torch.ones(len(y)))
        pairs.index_put_((x, y), torch.ones(len(y)), accumulate=True)
    return nats / math.log(2) / counted


if __name__ == "__main__":
    net = Reader()
    fit(net, text_of("train"))
    print("val_bpb", bits_per_byte(net, text_of("val")))
