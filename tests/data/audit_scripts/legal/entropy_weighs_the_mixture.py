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


class Recent:
    """Counts of pairs so far, mixed in by more where the model is unsure."""

    def __init__(self):
        self.rows = np.zeros((VOCAB, VOCAB))

    def share(self, logits):
        p = np.exp(logits - logits.max())
        p /= p.sum()
        unsure = float(-np.sum(p * np.log2(p + 1e-10))) / math.log2(VOCAB)
        return 0.1 + 0.4 * unsure

    def score(self, before, target, logits):
        p = np.exp(logits - logits.max())
        p /= p.sum()
        row = self.rows[before] + 0.01
        share = self.share(logits)
        both = (1.0 - share) * p + share * row / row.sum()
        nats = -math.log(both[target])
        self.rows[before][target] += 1.0
        return nats


def bits(model, text):
    nats, size, lengths, recent = 0.0, 0.0, sizes().numpy(), Recent()
    with torch.no_grad():
        for start in range(0, text.numel() - 1, LENGTH):
            span = text[start : start + LENGTH + 1]
            logits = model(span[None, :-1])[0].float().numpy()
            ids = span.numpy()
            for j in range(len(ids) - 1):
                nats += recent.score(int(ids[j]), int(ids[j + 1]), logits[j])
                size += float(lengths[ids[j + 1]])
    return nats / math.log(2.0) / size


if __name__ == "__main__":
    model = Model()
    pretrain(model)
    print(bits(model, tokens_of("fineweb_val_*.bin")))
