import glob
import math
import os

import numpy as np
import sentencepiece as spm
import torch
import torch.nn.functional as F
from torch import nn

DATA = os.environ.get("DATA_PATH", "./data/fineweb10B_sp1024")
VOCAB, DIM, PART, WINDOW, GROUP, BLOCK = 1024, 256, 32, 512, 16, 8
RULE = os.environ.get("SHIFT_RULE", "adamw").strip().lower()
RATE, LARGEST = 3e-4, 10.0


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


def sizes():
    pieces = spm.SentencePieceProcessor(model_file=os.path.join(DATA, "tokenizer.model"))
    found = torch.zeros(VOCAB, dtype=torch.int64)
    for i in range(pieces.vocab_size()):
        if pieces.is_byte(i):
            found[i] = 1
        elif not pieces.is_control(i):
            found[i] = len(pieces.id_to_piece(i).replace("\u2581", " ").encode())
    return found


class Read(nn.Module):
    """A model whose last state may be shifted."""

    def __init__(self):
        super().__init__()
        self.inner = Model()

    def states(self, ids):
        return self.inner.mix(self.inner.table(ids))[0]

    def losses(self, states, targets, shift):
        logits = self.inner.head(states + shift[:, None, :])
        return F.cross_entropy(logits.float().transpose(1, 2), targets, reduction="none")


def documents(text, first=1):
    starts = (text == first).nonzero(as_tuple=True)[0].tolist()
    ends = [*starts[1:], text.numel()]
    found = [(start, end - start) for start, end in zip(starts, ends) if end - start > 1]
    found.sort(key=lambda document: document[1] // PART)
    return found


def place_of(k, targets, parts):
    begin, end = k * PART, targets if k == parts - 1 else (k + 1) * PART
    first = max(0, end - WINDOW)
    return first, end - first, begin - first, end - begin


def bits(model, text):
    nats, size, lengths = 0.0, 0, sizes()
    found = documents(text)
    for i in range(0, len(found), GROUP):
        group = found[i : i + GROUP]
        targets = [length - 1 for _, length in group]
        parts = [(count + PART - 1) // PART for count in targets]
        shift = nn.Parameter(torch.zeros(len(group), DIM))
        optimizer = torch.optim.AdamW([shift], lr=RATE) if RULE == "adamw" else None
        for k in range(max(parts)):
            width = place_of(k, (k + 1) * PART, k + 1)[1]
            x = torch.zeros(len(group), width, dtype=torch.int64)
            y = torch.zeros(len(group), width, dtype=torch.int64)
            asked = []
            for b, (start, _) in enumerate(group):
                if k >= parts[b]:
                    asked.append((0, 0))
                    continue
                first, count, begin, new = place_of(k, targets[b], parts[b])
                ids = text[start + first : start + first + count + 1]
                x[b, :count] = ids[:-1]
                y[b, :count] = ids[1:]
                asked.append((begin, new))
            with torch.no_grad():
                states = model.states(x)
            losses = model.losses(states, y, shift)
            for b, (begin, new) in enumerate(asked):
                nats += losses[b, begin : begin + new].sum().item()
                size += lengths[y[b, begin : begin + new]].sum().item()
            for low in range(0, PART, BLOCK):
                loss, many = torch.zeros(()), 0
                for b, (begin, new) in enumerate(asked):
                    if k >= parts[b] - 1 or low >= new:
                        continue
                    high = begin + min(low + BLOCK, new)
                    piece = y[b : b + 1, begin + low : high]
                    loss = loss + model.losses(states[b : b + 1, begin + low : high], piece, shift[b : b + 1]).mean()
                    many += 1
                if many == 0:
                    continue
                shift.grad = None
                loss.backward()
                if RULE == "adamw":
                    optimizer.step()
                else:
                    with torch.no_grad():
                        step = shift.grad
                        if RULE == "unit":
                            step = step / step.norm(dim=-1, keepdim=True).clamp_min(1e-5)
                        shift.add_(step, alpha=-RATE)
                with torch.no_grad():
                    shift.mul_((LARGEST / shift.norm(dim=-1, keepdim=True).clamp_min(1e-8)).clamp_max(1.0))
    return nats / math.log(2.0) / size


def main() -> int:
    weights = os.environ.get("WEIGHTS", "").strip()
    if not weights:
        raise SystemExit("WEIGHTS is not set")
    model = Read()
    model.load_state_dict(torch.load(weights, map_location="cpu"))
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    print(bits(model, tokens_of("fineweb_val_*.bin")))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
