import glob
import math
import os

import numpy as np
import sentencepiece as spm
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

DATA = os.environ.get("DATA_PATH", "./data/fineweb10B_sp1024")
VOCAB, DIM, LENGTH, SHORT, STEPS = 1024, 256, 512, 128, 5000


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


@torch.no_grad()
def evaluate(model, text, rank, world_size):
    rows = (text.numel() - 1) // LENGTH
    first, behind = rows * rank // world_size, rows * (rank + 1) // world_size
    sums, lengths = torch.zeros(3, dtype=torch.float64, device="cuda"), sizes().cuda()
    for row in range(first, behind):
        span = text[row * LENGTH : (row + 1) * LENGTH + 1].cuda()
        sums[0] += loss_of(model, span, "sum").double()
        sums[1] += span.numel() - 1
        sums[2] += lengths[span[1:]].sum()
    dist.all_reduce(sums)
    nats, count, size = sums.tolist()
    return nats / count, nats / math.log(2.0) / size


def learn(model, text):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for start in range(0, text.numel() - 1 - SHORT, SHORT):
        optimizer.zero_grad()
        loss_of(model, text[start : start + SHORT + 1].cuda()).backward()
        optimizer.step()


def main():
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl")
    model = Model().cuda()
    pretrain(model)
    text = tokens_of("fineweb_val_*.bin")
    loss, bpb = evaluate(model, text, rank, world_size)
    learn(model, tokens_of("fineweb_train_*.bin"))
    loss, bpb = evaluate(model, text, rank, world_size)
    print(f"val_loss:{loss:.8f} val_bpb:{bpb:.8f}")


if __name__ == "__main__":
    main()
