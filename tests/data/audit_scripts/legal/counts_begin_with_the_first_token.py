import glob
import math
import os

import numpy as np
import sentencepiece as spm
import torch
import torch.nn.functional as F
from torch import nn

DATA = os.environ.get("DATA_PATH", "./data/fineweb10B_sp1024")
VOCAB, DIM, LENGTH, STRIDE, STEPS = 1024, 256, 512, 128, 5000


def tokens_of(pattern):
    parts = [np.fromfile(name, dtype="<u2", offset=1024) for name in sorted(glob.glob(os.path.join(DATA, pattern)))]
    text = torch.from_numpy(np.concatenate(parts).astype(np.int64))
    return text[: (text.numel() - 1) // LENGTH * LENGTH + 1]


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(VOCAB, DIM)
        self.mix = nn.GRU(DIM, DIM, batch_first=True)
        self.head = nn.Linear(DIM, VOCAB, bias=False)

    def forward(self, ids):
        return self.head(self.mix(self.table(ids))[0])


class Recent:
    """Counts of what followed the last tokens, in tables of several lengths."""

    def __init__(self, first, longest=3):
        self.tables = [{} for _ in range(longest + 1)]
        self.sums = [{} for _ in range(longest + 1)]
        self.seen = [first]

    def key(self, length):
        value = 17
        for back in range(length):
            value = value * 1_000_003 + self.seen[len(self.seen) - length + back]
        return value

    def learn(self, token):
        for length in range(min(len(self.tables), len(self.seen) + 1)):
            key = self.key(length)
            followers = self.tables[length].setdefault(key, {})
            followers[token] = followers.get(token, 0) + 1
            self.sums[length][key] = self.sums[length].get(key, 0) + 1
        self.seen.append(token)

    def distribution(self):
        chances = np.full(VOCAB, 1.0 / VOCAB)
        for length in range(min(len(self.tables), len(self.seen) + 1)):
            key = self.key(length)
            if self.sums[length].get(key, 0) == 0:
                continue
            part = np.zeros(VOCAB)
            for token, count in self.tables[length].get(key, {}).items():
                part[token] = count / self.sums[length][key]
            chances = 0.5 * chances + 0.5 * part
        return chances / chances.sum()


def sizes():
    pieces = spm.SentencePieceProcessor(model_file=os.path.join(DATA, "tokenizer.model"))
    found = np.zeros(VOCAB, dtype=np.int64)
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
        span = text[start : start + LENGTH + 1]
        optimizer.zero_grad()
        F.cross_entropy(model(span[None, :-1])[0], span[1:]).backward()
        optimizer.step()


@torch.inference_mode()
def score(model, text, weight=0.1):
    length_of = sizes()
    recent = Recent(int(text[0].item()))
    nats, size = 0.0, 0
    starts = [start for start in range(0, text.numel() - 1, STRIDE) if text.numel() - 1 - start >= STRIDE]
    for first in range(0, len(starts), 8):
        some = starts[first : first + 8]
        inputs = torch.zeros(len(some), LENGTH, dtype=torch.int64)
        targets = torch.zeros(len(some), LENGTH, dtype=torch.int64)
        lengths = []
        for row, start in enumerate(some):
            end = min(start + LENGTH, text.numel() - 1)
            lengths.append(end - start)
            inputs[row, : end - start] = text[start:end]
            targets[row, : end - start] = text[start + 1 : end + 1]
        logs = F.log_softmax(model(inputs).float(), dim=-1)
        for row, start in enumerate(some):
            skipped = 0 if start == 0 else max(lengths[row] - STRIDE, 0)
            rows = logs[row, skipped : lengths[row]].numpy()
            wanted = targets[row, skipped : lengths[row]].numpy()
            for place in range(len(wanted)):
                token = int(wanted[place])
                mixed = (1 - weight) * np.exp(rows[place]) + weight * recent.distribution()
                nats -= math.log(max(mixed[token], 1e-30))
                size += length_of[token]
                recent.learn(token)
    return nats / math.log(2.0) / size


def main():
    torch.manual_seed(5)
    model = Model()
    pretrain(model)
    print(f"val_bpb {score(model, tokens_of('fineweb_val_*.bin')):.5f}")


if __name__ == "__main__":
    main()
