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


class Pairs:
    """Counts of pairs of tokens that were scored, and a distribution by them."""

    def __init__(self):
        self.counts = np.zeros((VOCAB, VOCAB), dtype=np.uint32)
        self.totals = np.zeros(VOCAB, dtype=np.uint32)

    def after(self, prev):
        return (self.counts[prev].astype(np.float64) + 1.0 / VOCAB) / (self.totals[prev] + 1.0)

    def count(self, prev, target):
        self.counts[prev, target] += 1  # planted: E3
        self.totals[prev] += 1


class Shares:
    """Weights of distributions, moved by what each said of the tokens that were scored."""

    def __init__(self, number, back=0.01):
        self.number, self.back = number, back
        self.weights = np.ones(number) / number

    def mix(self, said):
        mixed = np.zeros(VOCAB)
        for k in range(self.number):
            mixed += self.weights[k] * said[k]
        total = mixed.sum()
        if total > 0:
            mixed /= total
        return mixed

    def move(self, said, target):
        for k in range(self.number):
            self.weights[k] *= max(said[k][target], 1e-30)
        total = self.weights.sum()
        if total > 0:
            self.weights /= total
        self.weights = (1 - self.back) * self.weights + self.back / self.number


def evaluate(model, text):
    lengths, pairs, shares = sizes().numpy(), Pairs(), Shares(2)
    nats, scored, size = 0.0, 0, 0.0
    for begin in range(0, text.numel() - LENGTH, LENGTH):
        window = text[begin : begin + LENGTH + 1]
        with torch.inference_mode():
            probs = torch.softmax(model(window[None, :-1])[0].float(), dim=-1).numpy()
        tokens = window.numpy()
        for t in range(LENGTH):
            prev, target = int(tokens[t]), int(tokens[t + 1])
            pairs.count(prev, target)  # planted: E3
            said = [probs[t].astype(np.float64), pairs.after(prev)]
            mixed = shares.mix(said)
            nats -= math.log(max(mixed[target], 1e-30))
            size += float(lengths[target])
            scored += 1
            shares.move(said, target)
    totals = torch.tensor([nats, float(scored), size], dtype=torch.float64)
    loss = (totals[0] / totals[1]).item()
    return loss, loss / math.log(2.0) * (totals[1] / totals[2]).item()


if __name__ == "__main__":
    model = Model()
    pretrain(model)
    print(evaluate(model, tokens_of("fineweb_val_*.bin")))
