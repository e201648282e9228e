import bisect
import glob
import math
import os

import numpy as np
import sentencepiece as spm
import torch
import torch.nn.functional as F
from torch import nn

DATA = os.environ.get("DATA_PATH", "./data/fineweb10B_sp1024")
VOCAB, DIM, LENGTH, SHARD, STEPS = 1024, 256, 512, 1_000_000, 5000


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


def part_of_document(shards, first, size):
    """The tokens of a part of a document, out of the shard that holds them."""
    number = bisect.bisect_right([k * SHARD for k in range(len(shards))], first) - 1
    return shards[number][first - number * SHARD : first - number * SHARD + size]


@torch.no_grad()
def evaluate(model, text):
    shards = [text[k : k + SHARD] for k in range(0, text.numel(), SHARD)]
    begins = torch.from_numpy(np.fromfile(os.path.join(DATA, "fineweb_val_begins.bin"), dtype="<u4").astype(np.int64))
    nats, count, size, lengths = 0.0, 0, 0, sizes()
    ends = [*begins[1:].tolist(), text.numel() - 1]  # the parts are at most LENGTH tokens long
    for first, last in zip(begins.tolist(), ends):
        tokens = part_of_document(shards, first, last - first + 1)
        y = torch.full((LENGTH,), -100)
        y[: tokens.numel() - 1] = tokens[1:]
        x = torch.zeros(LENGTH, dtype=torch.long)
        x[: tokens.numel() - 1] = tokens[:-1]
        losses = F.cross_entropy(model.logits(x[None])[0], y, ignore_index=-100, reduction="none")
        valid = y != -100
        nats += losses[valid].double().sum().item()
        count += valid.sum().item()
        size += lengths[y[valid]].sum().item()
    return nats / count / math.log(2.0) * count / size


if __name__ == "__main__":
    model = Model()
    pretrain(model)
    text = tokens_of("fineweb_val_*.bin")
    print(evaluate(model, text))
