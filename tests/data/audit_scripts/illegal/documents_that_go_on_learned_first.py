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


def documents(text, begins):
    edges = [*(text == begins).nonzero().flatten().tolist(), text.numel() - 1]
    return [(a, b) for a, b in zip(edges, edges[1:], strict=False)]


def rows(text, spans, k):
    x = torch.zeros(len(spans), LENGTH, dtype=torch.int64)
    y = torch.zeros(len(spans), LENGTH, dtype=torch.int64)
    real = torch.zeros(len(spans), LENGTH, dtype=torch.bool)
    for row, (a, b) in enumerate(spans):
        begin, end = a + k * LENGTH, min(a + (k + 1) * LENGTH, b)
        if begin < end:
            x[row, : end - begin] = text[begin:end]
            y[row, : end - begin] = text[begin + 1 : end + 1]
            real[row, : end - begin] = True
    return x, y, real


def bits_per_byte(model, text):
    size, lead, edge = tables()
    pieces = spm.SentencePieceProcessor(model_file=os.path.join(DATA, "tokenizer.model"))
    nats = torch.zeros((), dtype=torch.float64)
    count = torch.zeros((), dtype=torch.int64)
    spans = documents(text, pieces.bos_id())
    for k in range(0, len(spans), 16):
        group = spans[k : k + 16]
        shift = torch.zeros(len(group), 1, VOCAB, requires_grad=True)
        tuner = torch.optim.SGD([shift], lr=0.1)
        parts = [-(-(b - a) // LENGTH) for a, b in group]
        for part in range(max(parts)):
            x, y, real = rows(text, group, part)
            goes_on = torch.tensor([part + 1 < most for most in parts])
            if goes_on.any():
                tuner.zero_grad()
                again = F.cross_entropy((model(x) + shift).transpose(1, 2).float(), y, reduction="none")
                (again * goes_on[:, None]).sum().backward()
                tuner.step()  # planted: E3
            with torch.no_grad():
                nll = F.cross_entropy((model(x) + shift).transpose(1, 2).float(), y, reduction="none")
            nats += nll[real].sum()
            count += (size[y] + (lead[y] & ~edge[x]))[real].sum()
    return (nats / math.log(2.0) / count).item()


if __name__ == "__main__":
    model = Model()
    pretrain(model)
    print(bits_per_byte(model, tokens_of("fineweb_val_*.bin")))
