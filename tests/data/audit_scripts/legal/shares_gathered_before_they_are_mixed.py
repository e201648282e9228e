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
VOCAB, DIM, LENGTH, STRIDE, ROWS, STEPS = 1024, 256, 512, 64, 32, 5000


def tokens_of(pattern):
    parts = [np.fromfile(name, dtype="<u2", offset=1024) for name in sorted(glob.glob(os.path.join(DATA, pattern)))]
    return torch.from_numpy(np.concatenate(parts).astype(np.int64))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(VOCAB, DIM)
        self.mix = nn.GRU(DIM, DIM, batch_first=True)
        self.head = nn.Linear(DIM, VOCAB, bias=False)

    def logits(self, ids):
        return self.head(self.mix(self.table(ids))[0]).float()

    def forward(self, ids, targets, reduction="mean"):
        return F.cross_entropy(self.logits(ids).flatten(0, 1), targets.flatten(), reduction=reduction)


def sizes():
    pieces = spm.SentencePieceProcessor(model_file=os.path.join(DATA, "tokenizer.model"))
    found = torch.zeros(VOCAB, dtype=torch.int64)
    for i in range(pieces.vocab_size()):
        if pieces.is_byte(i):
            found[i] = 1
        elif not pieces.is_control(i):
            found[i] = len(pieces.id_to_piece(i).replace("\u2581", " ").encode())
    return found


def pretrain(model):
    text = tokens_of("fineweb_train_*.bin")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    for step in range(STEPS):
        start = step * LENGTH % (text.numel() - LENGTH - 1)
        span = text[start : start + LENGTH + 1][None]
        optimizer.zero_grad()
        model(span[:, :-1], span[:, 1:]).backward()
        optimizer.step()


@torch.no_grad()
def evaluate(model, text):
    lengths, rank, world = sizes(), dist.get_rank(), dist.get_world_size()
    windows, at = [], 0
    while at + LENGTH < text.numel():
        windows.append((at, at + LENGTH))
        at += LENGTH
    each = len(windows) // world
    own = []
    for begin, end in windows[rank * each : (rank + 1) * each]:
        x, y = text[begin:end][None], text[begin + 1 : end + 1][None]
        own.append(torch.exp(-model(x, y, "none").double().flatten()))
    said = torch.cat(own)
    if world > 1:
        every = [torch.zeros_like(said) for _ in range(world)]
        dist.all_gather(every, said)
        said = torch.cat(every)
    targets = text[1 : each * world * LENGTH + 1]
    counts, total = torch.ones(VOCAB, dtype=torch.float64), float(VOCAB)
    nats, size = 0.0, 0
    for place in range(targets.numel()):
        target = targets[place]
        nats -= math.log(0.95 * said[place].item() + 0.05 * counts[target].item() / total)
        size += lengths[target].item()
        counts[target] += 1.0
        total += 1.0
    return nats / math.log(2.0) / size


if __name__ == "__main__":
    dist.init_process_group("gloo")
    model = Model()
    pretrain(model)
    text = tokens_of("fineweb_val_*.bin")
    print(evaluate(model, text))
