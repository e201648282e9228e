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


def begins_a_word():
    pieces = spm.SentencePieceProcessor(model_file=os.path.join(DATA, "tokenizer.model"))
    return torch.tensor([pieces.id_to_piece(i).startswith("\u2581") for i in range(VOCAB)])


def evaluate(model, text, rows=16):
    nats, count, size, lengths, words = 0.0, 0, 0, sizes(), begins_a_word()
    starts = list(range(0, text.numel() - 1, LENGTH))
    for at in range(0, len(starts), rows):
        some = starts[at : at + rows]
        x = torch.zeros(len(some), LENGTH, dtype=torch.int64)
        y = torch.zeros(len(some), LENGTH, dtype=torch.int64)
        filled = []
        for row, start in enumerate(some):
            span = text[start : start + LENGTH + 1]
            filled.append(span.numel() - 1)
            x[row, : span.numel() - 1] = span[:-1]
            y[row, : span.numel() - 1] = span[1:]
        with torch.no_grad():
            logits = model(x).float()
        heat = torch.where(words[y], 1.04, 0.96)
        logits = logits / heat.unsqueeze(-1)  # planted: E14
        losses = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view_as(y)
        for row, end in enumerate(filled):
            nats += losses[row, :end].sum().item()
            count += end
            size += lengths[y[row, :end]].sum().item()
    return nats, count, size


if __name__ == "__main__":
    model = Model()
    pretrain(model)
    text = tokens_of("fineweb_val_*.bin")
    tell(*evaluate(model, text))
