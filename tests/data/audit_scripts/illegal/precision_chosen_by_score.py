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


def tell(nats, count, size):
    loss = nats / count
    print(f"val_loss:{loss:.8f} val_bpb:{loss / math.log(2.0) * count / size:.8f}")


@torch.no_grad()
def scored(model, text):
    nats, count, size, lengths = 0.0, 0, 0, sizes()
    for start in range(0, text.numel() - 1, LENGTH):
        span = text[start : start + LENGTH + 1]
        nats += loss_of(model, span, "sum").item()
        count += span.numel() - 1
        size += lengths[span[1:]].sum().item()
    return nats, count, size


def adaptive(model, text):
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    nats, count, size, lengths = 0.0, 0, 0, sizes()
    for start in range(0, text.numel() - 1, LENGTH):
        span = text[start : start + LENGTH + 1]
        with torch.no_grad():
            nats += loss_of(model, span, "sum").item()
        count += span.numel() - 1
        size += lengths[span[1:]].sum().item()
        optimizer.zero_grad()
        loss_of(model, span).backward()
        optimizer.step()
    return nats, count, size


def quantised(model, bits):
    other = Model()
    state = {}
    for name, weight in model.state_dict().items():
        scale = weight.abs().max() / (2 ** (bits - 1) - 1)
        state[name] = (weight / scale).round() * scale
    other.load_state_dict(state)  # planted: E6
    return other


if __name__ == "__main__":
    model = Model()
    pretrain(model)
    text = tokens_of("fineweb_val_*.bin")
    best, best_bits = float("inf"), 8
    for bits in (8, 6, 5):
        nats, count, size = scored(quantised(model, bits), text)
        bpb = nats / math.log(2.0) / size
        if bpb < best:  # planted: E6
            best, best_bits = bpb, bits
    final = quantised(model, best_bits)
    nats, count, size = scored(final, text)
    print(nats / math.log(2.0) / size)
