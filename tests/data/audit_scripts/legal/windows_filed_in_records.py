import glob
import math
import os
from dataclasses import dataclass, field

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


def tell(nats, count, size):
    loss = nats / count
    print(f"val_loss:{loss:.8f} val_bpb:{loss / math.log(2.0) * count / size:.8f}")


@torch.no_grad()
def score(model, text, windows, lengths, stride):
    nats, count, size = 0.0, 0, 0
    for begin in windows:
        span = text[begin : begin + LENGTH + 1]
        nll = F.cross_entropy(model(span[None, :-1])[0].float(), span[1:], reduction="none")
        first = 0 if begin == 0 else LENGTH - stride
        nats += nll[first:].double().sum().item()
        count += nll.numel() - first
        size += lengths[span[1:][first:]].sum().item()
    return nats, count, size


def learn(model, optimizer, text, begin, end):
    for start in range(begin, end - LENGTH + 1, LENGTH):
        optimizer.zero_grad()
        loss_of(model, text[start : start + LENGTH + 1]).backward()
        optimizer.step()


@dataclass
class Span:
    """A chunk of the text, and the windows that are scored before it is learned."""

    begin: int
    end: int
    windows: list[int] = field(default_factory=list)


def plan(total, chunk, stride):
    spans = [Span(a, min(a + chunk, total)) for a in range(0, total, chunk)]
    for start in range(0, total, stride):
        if start + LENGTH <= total:
            spans[(start + LENGTH - stride) // chunk].windows.append(start)
    return spans


def evaluate(model, text, chunk=32768, stride=192):
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    nats, count, size, lengths = 0.0, 0, 0, sizes()
    spans = plan(text.numel() - 1, chunk, stride)
    for k, span in enumerate(spans):
        found = score(model, text, span.windows, lengths, stride)
        nats, count, size = nats + found[0], count + found[1], size + found[2]
        if k + 1 < len(spans):
            learn(model, optimizer, text, span.begin, span.end)
    return nats, count, size


if __name__ == "__main__":
    model = Model()
    pretrain(model)
    tell(*evaluate(model, tokens_of("fineweb_val_*.bin")))
