import glob
import math
import os
import struct

import sentencepiece as spm
import torch
import torch.nn.functional as F
from torch import nn

DATA = os.environ.get("DATA_PATH", "./data/fineweb10B_sp1024")
VOCAB, DIM, RANK, CHUNK, STEPS, BOS = 1024, 256, 4, 128, 5000, 1


def read_shard(path):
    with open(path, "rb") as file:
        blob = file.read()
    count = struct.unpack("<256i", blob[:1024])[2]
    return list(struct.unpack(f"<{count}H", blob[1024 : 1024 + 2 * count]))


def tokens_of(pattern):
    tokens = []
    for path in sorted(glob.glob(os.path.join(DATA, pattern))):
        tokens.extend(read_shard(path))
    return tokens


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(VOCAB, DIM)
        self.mix = nn.GRU(DIM, DIM, batch_first=True)
        self.head = nn.Linear(DIM, VOCAB, bias=False)

    def logits(self, ids, adapter=None):
        hidden = self.mix(self.table(ids))[0]
        return self.head(hidden if adapter is None else hidden + adapter(hidden)).float()


class Adapter(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Linear(DIM, RANK, bias=False), nn.Linear(RANK, DIM, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, hidden):
        return self.up(self.down(hidden))


def loss_of(model, ids, adapter=None):
    span = torch.tensor(ids)
    return F.cross_entropy(model.logits(span[None, :-1], adapter)[0], span[1:], reduction="sum")


def sizes():
    pieces = spm.SentencePieceProcessor(model_file=os.path.join(DATA, "tokenizer.model"))
    found = [0] * VOCAB
    for i in range(pieces.vocab_size()):
        if pieces.is_byte(i):
            found[i] = 1
        elif not pieces.is_control(i):
            found[i] = len(pieces.id_to_piece(i).replace("\u2581", " ").encode())
    return found


def pretrain(model):
    tokens = tokens_of("fineweb_train_*.bin")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    for step in range(STEPS):
        start = step * CHUNK % (len(tokens) - CHUNK - 1)
        optimizer.zero_grad()
        loss_of(model, tokens[start : start + CHUNK + 1]).backward()
        optimizer.step()


def documents(tokens):
    starts = [place for place, token in enumerate(tokens) if token == BOS] + [len(tokens)]
    return [tokens[first:last] for first, last in zip(starts[:-1], starts[1:])]


def evaluate(model, tokens):
    nats, size, lengths = 0.0, 0, sizes()
    for document in documents(tokens):
        adapter = Adapter()
        optimizer = torch.optim.Adam(adapter.parameters(), lr=1e-2)
        for start in range(0, len(document) - 1, CHUNK):
            chunk = document[start : start + CHUNK + 1]
            with torch.no_grad():
                nats += loss_of(model, chunk, adapter).double().item()
            size += sum(lengths[token] for token in chunk[1:])
            if start + CHUNK < len(document) - 1:
                optimizer.zero_grad()
                loss_of(model, chunk, adapter).backward()
                optimizer.step()
    return nats / math.log(2.0) / size


if __name__ == "__main__":
    model = Model()
    pretrain(model)
    print(evaluate(model, tokens_of("fineweb_val_*.bin")))
