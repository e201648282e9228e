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


def loss_of(model, span, reduction="mean"):
    logits = model(span[None, :-1])
    return F.cross_entropy(logits[0].float(), span[1:], reduction=reduction)


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
        optimizer.zero_grad()
        loss_of(model, text[start : start + LENGTH + 1]).backward()
        optimizer.step()


@torch.no_grad()
def evaluate(model, text, stride=64, share=0.02):
    nats, size, lengths = 0.0, 0, sizes()
    starts = list(range(0, text.numel() - LENGTH, stride))
    for b in range(0, len(starts), 16):
        group = starts[b : b + 16]
        x = torch.stack([text[s : s + LENGTH] for s in group])
        y = torch.stack([text[s + 1 : s + LENGTH + 1] for s in group])
        logits = model(x)
        for i, s in enumerate(group):
            first = LENGTH - stride if s > 0 else 0
            own = F.log_softmax(logits[i, first:, :].float(), dim=-1).gather(1, y[i, first:, None]).squeeze(1)
            near = torch.zeros(VOCAB)
            near.scatter_add_(0, x[i, :first], torch.exp(0.01 * (torch.arange(first) - float(first))))
            near = near / near.sum().clamp(min=1)
            copied = torch.log(share * near[y[i, first:]] + 1e-30)
            nats -= torch.logaddexp(own + math.log(1 - share), copied).sum().item()
            size += lengths[y[i, first:]].sum().item()
    return nats / math.log(2.0) / size


if __name__ == "__main__":
    model = Model()
    pretrain(model)
    text = tokens_of("fineweb_val_*.bin")
    print(evaluate(model, text))
