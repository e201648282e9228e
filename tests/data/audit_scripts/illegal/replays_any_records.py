import glob
import math
import os
import random
from dataclasses import dataclass, field

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


@dataclass
class Chunk:
    index: int
    begin: int
    end: int
    loss: float = 0.0
    scored: bool = False


@dataclass
class Replay:
    chunks: list = field(default_factory=list)

    def add(self, chunk):
        assert chunk.scored
        self.chunks.append(chunk)

    def sample(self, many):
        return random.sample(self.chunks, min(many, len(self.chunks)))


def evaluate(model, text, chunk_tokens=8192, many=4):
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    nats, count, size, lengths, total = 0.0, 0, 0, sizes(), text.numel() - 1
    chunks = [Chunk(k, b, min(b + chunk_tokens, total)) for k, b in enumerate(range(0, total, chunk_tokens))]
    replay = Replay()
    for chunk in chunks:
        for at in range(chunk.begin, chunk.end, LENGTH):
            span = text[at : min(at + LENGTH, chunk.end) + 1]
            with torch.no_grad():
                chunk.loss += loss_of(model, span, "sum").item()
            count += span.numel() - 1
            size += lengths[span[1:]].sum().item()
        nats += chunk.loss
        chunk.scored = True
        replay.add(chunk)
        if chunk.index + 1 == len(chunks):
            continue
        for old in random.sample(chunks, many):
            at = random.randrange(old.begin, max(old.end - LENGTH, old.begin + 1))
            optimizer.zero_grad()
            loss_of(model, text[at : min(at + LENGTH, old.end) + 1]).backward()
            optimizer.step()  # planted: E3
    return nats, count, size


if __name__ == "__main__":
    model = Model()
    pretrain(model)
    tell(*evaluate(model, tokens_of("fineweb_val_*.bin")))
