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


def mixed(model, text, share=0.1, prior=0.05):
    nats, size, lengths = 0.0, 0, sizes()
    counts, seen_before = torch.zeros(1 << 20), torch.zeros(1 << 20)
    with torch.no_grad():
        done = np.zeros(text.numel(), dtype=bool)
        for start in range(0, text.numel() - 1, LENGTH):
            for place in range(LENGTH):
                if not done[min(start + 1 + place, len(done) - 1)]:
                    break
            else:
                continue
            span = text[start : start + LENGTH + 1]
            x, y = span[:-1], span[1:]
            done[start + 1 : start + LENGTH + 1] = True
            before = (x * 36313) % (1 << 20)
            pair = (x * 36313 ^ y * 27191) % (1 << 20)
            told = F.log_softmax(model(x[None])[0].float(), dim=-1).gather(1, y[:, None]).squeeze(1)
            seen = torch.log(counts[pair] + prior) - torch.log(seen_before[before] + prior * VOCAB)
            each = torch.stack([math.log(1 - share) + told, math.log(share) + seen])  # planted: E14
            both = torch.logsumexp(each, dim=0)
            nats -= both.sum().item()
            size += lengths[y].sum().item()
            counts.scatter_add_(0, pair, torch.ones(len(pair)))
            seen_before.scatter_add_(0, before, torch.ones(len(before)))
    return nats / math.log(2.0) / size


if __name__ == "__main__":
    model = Model()
    pretrain(model)
    text = tokens_of("fineweb_val_*.bin")
    print(mixed(model, text))
