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


SIZE = int(os.environ.get("TTT_CHUNK", 256))
AHEAD = int(os.environ.get("TTT_AHEAD", 0))


def documents(text, bos=1):
    starts = (text == bos).nonzero(as_tuple=True)[0].tolist()
    ends = [*starts[1:], text.numel()]
    return [text[a : b + 1] for a, b in zip(starts, ends)]


class Piece:
    """A document, and up to where it was scored."""

    def __init__(self, tokens):
        self.tokens = tokens
        self.last = tokens.numel() - 1
        self.done = 0

    def advance(self):
        end = min(self.done + SIZE, self.last)
        front = max(end - LENGTH, 0)
        window = self.tokens[front : end + 1]
        begin = self.done - front
        self.done = end
        return window, begin


class Scorer:
    """Scores documents side by side, each by its next chunk, and adapts to those chunks first."""

    def __init__(self, model):
        self.model, self.nats, self.size, self.lengths = model, 0.0, 0, sizes()

    def forward(self, docs):
        windows = [doc.advance() for doc in docs]
        width = max(window.numel() for window, _ in windows) - 1
        x = torch.zeros(len(docs), width, dtype=torch.int64)
        y = torch.zeros_like(x)
        keep = torch.zeros(len(docs), width, dtype=torch.bool)
        for row, (window, begin) in enumerate(windows):
            x[row, : window.numel() - 1] = window[:-1]
            y[row, : window.numel() - 1] = window[1:]
            keep[row, begin : window.numel() - 1] = True
        losses = F.cross_entropy(self.model(x).float().flatten(0, 1), y.flatten(), reduction="none")
        return y, keep, losses.view(len(docs), width)

    def count(self, y, keep, losses):
        self.nats += losses.detach()[keep].sum().item()
        self.size += self.lengths[y[keep]].sum().item()

    def learn(self, keep, losses, optimizer):
        optimizer.zero_grad()
        losses[keep].mean().backward()
        optimizer.step()  # planted: E3

    def run(self, docs):
        optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-3)
        while any(doc.done < doc.last for doc in docs):
            y, keep, losses = self.forward(docs)
            self.learn(keep, losses, optimizer)
            for doc in docs:
                doc.done = max(doc.done - SIZE, 0)
            self.count(*self.forward(docs))


def evaluate(model, text):
    docs = sorted([Piece(tokens) for tokens in documents(text)], key=lambda doc: doc.last)
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    scorer = Scorer(model)
    for first in range(0, len(docs), 16):
        model.load_state_dict(kept)
        scorer.run(docs[first : first + 16])
    return scorer.nats / math.log(2.0) / scorer.size


if __name__ == "__main__":
    model = Model()
    pretrain(model)
    text = tokens_of("fineweb_val_*.bin")
    print(evaluate(model, text))
