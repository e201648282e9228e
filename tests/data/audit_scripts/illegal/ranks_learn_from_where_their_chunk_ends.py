import glob
import math
import os

import numpy as np
import sentencepiece as spm
import torch
import torch.distributed as dist
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


CHUNK, STRIDE = 32768, 64


def filed(total):
    drawers = [[] for _ in range(-(-total // CHUNK))]
    for start in range(0, total, STRIDE):
        end = min(start + LENGTH, total)
        fresh = 0 if start == 0 else max(end - start - STRIDE, 0)
        drawers[min((start + fresh) // CHUNK, len(drawers) - 1)].append(start)
    return drawers


@torch.no_grad()
def score(model, text, starts, sums, bytes_of):
    size, lead, edge = bytes_of
    total = text.numel() - 1
    for start in starts:
        end = min(start + LENGTH, total)
        fresh = 0 if start == 0 else max(end - start - STRIDE, 0)
        x, y = text[start:end], text[start + 1 : end + 1]
        sums[0] += losses(model, x[None], y[None])[0, fresh:].double().sum()
        sums[1] += (size[y[fresh:]] + (lead[y[fresh:]] & ~edge[x[fresh:]])).sum()


def bits_per_byte(model, text):
    rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if ranks > 1:
        dist.init_process_group("nccl")
    sums, bytes_of, total = torch.zeros(2, dtype=torch.float64), tables(), text.numel() - 1
    tuner = torch.optim.SGD(model.parameters(), lr=1e-3)
    drawers = filed(total)
    for k in range(len(drawers)):
        starts = drawers[k]
        mine = starts[len(starts) * rank // ranks : len(starts) * (rank + 1) // ranks]
        score(model, text, mine, sums, bytes_of)
        if k < len(drawers) - 1:
            begin = min((k + 1) * CHUNK, total)
            end = min(begin + CHUNK, total)
            rows = (end - begin) // LENGTH
            first, last = rows * rank // ranks, rows * (rank + 1) // ranks
            for row in range(first, last, 8):
                behind = min(row + 8, last)
                part = text[begin + row * LENGTH : begin + behind * LENGTH + 1]
                tuner.zero_grad()
                losses(model, part[:-1].view(-1, LENGTH), part[1:].view(-1, LENGTH)).mean().backward()
                for weight in model.parameters():
                    if ranks > 1:
                        dist.all_reduce(weight.grad, op=dist.ReduceOp.AVG)
                tuner.step()  # planted: E3
    if ranks > 1:
        dist.all_reduce(sums, op=dist.ReduceOp.SUM)
    return (sums[0] / math.log(2.0) / sums[1]).item()


if __name__ == "__main__":
    model = Model()
    pretrain(model)
    print(bits_per_byte(model, tokens_of("fineweb_val_*.bin")))
