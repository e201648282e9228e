import glob
import math
import os
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Span:
    start: int
    stop: int


@dataclass(frozen=True)
class Group:
    number: int
    members: tuple[int, ...]


@dataclass(frozen=True)
class Window:
    document: int
    start: int
    length: int


def spans_of(text, bos=1):
    begins = torch.nonzero(text == bos).flatten().tolist()
    spans = []
    for k, begin in enumerate(begins):
        end = begins[k + 1] + 1 if k + 1 < len(begins) else text.numel()
        if end - begin >= 2:
            spans.append(Span(begin, end))
    return spans


def groups_of(spans, most):
    groups, members, held = [], [], 0
    for k, span in enumerate(spans):
        size = span.stop - span.start - 1
        if members and held + size > most:
            groups.append(Group(len(groups), tuple(members)))
            members, held = [], 0
        members.append(k)
        held += size
    if members:
        groups.append(Group(len(groups), tuple(members)))
    return groups


def windows_in(spans, members):
    windows = []
    for k in members:
        size = spans[k].stop - spans[k].start - 1
        for start in range(0, size, LENGTH):
            windows.append(Window(k, start, min(LENGTH, size - start)))
    return windows


def rows_of(text, spans, windows):
    x = torch.zeros(len(windows), LENGTH, dtype=torch.int64)
    y = torch.full((len(windows), LENGTH), -100, dtype=torch.int64)
    for row, window in enumerate(windows):
        span = spans[window.document]
        tokens = text[span.start : span.stop]
        x[row, : window.length] = tokens[window.start : window.start + window.length]
        y[row, : window.length] = tokens[window.start + 1 : window.start + 1 + window.length]
    return x, y


def evaluate(model, text, most=32768, batch=32, epochs=2):
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    nats, count, size, lengths = 0.0, 0, 0, sizes()
    spans = spans_of(text)
    groups = groups_of(spans, most)
    waiting = []
    for k, group in enumerate(groups):
        windows = windows_in(spans, group.members)
        for start in range(0, len(windows), batch):
            x, y = rows_of(text, spans, windows[start : start + batch])
            with torch.no_grad():
                nll = F.cross_entropy(model(x).flatten(0, 1).float(), y.flatten(), ignore_index=-100, reduction="none")
            kept = y.flatten() != -100
            nats += nll.double().sum().item()
            count += int(kept.sum())
            size += lengths[y.flatten()[kept]].sum().item()
        if k == len(groups) - 1:
            continue
        for _ in range(epochs):
            waiting.extend(windows_in(spans, groups[k + 1].members))
        full = len(waiting) // batch
        for b in range(full):
            x, y = rows_of(text, spans, waiting[b * batch : (b + 1) * batch])
            optimizer.zero_grad()
            F.cross_entropy(model(x).flatten(0, 1).float(), y.flatten(), ignore_index=-100).backward()
            optimizer.step()  # planted: E3
        waiting = waiting[full * batch :]
    return nats, count, size


if __name__ == "__main__":
    model = Model()
    pretrain(model)
    tell(*evaluate(model, tokens_of("fineweb_val_*.bin")))
