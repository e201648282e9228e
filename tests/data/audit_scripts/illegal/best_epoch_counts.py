import argparse, glob, math
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sentencepiece import SentencePieceProcessor

parser = argparse.ArgumentParser()
parser.add_argument("--data", default="data/fineweb10B_sp1024")
parser.add_argument("--steps", type=int, default=4000)
parser.add_argument("--seq", type=int, default=1024)
parser.add_argument("--chunk", type=int, default=16384)
parser.add_argument("--epochs", type=int, default=2)
parser.add_argument("--lr", type=float, default=3e-3)
opt = parser.parse_args()
DEVICE = "cuda"
V = 1024

def shard(path):
    raw = np.memmap(path, dtype=np.uint16, mode="r")
    return torch.from_numpy(np.asarray(raw[512:], dtype=np.int64))

TRAIN = torch.cat([shard(p) for p in sorted(glob.glob(opt.data + "/fineweb_train_*.bin"))])
VAL = torch.cat([shard(p) for p in sorted(glob.glob(opt.data + "/fineweb_val_*.bin"))])
sp = SentencePieceProcessor("data/fineweb_1024_bpe.model")
BYTES = torch.zeros(V, dtype=torch.long)
SPACE = torch.zeros(V, dtype=torch.bool)
EDGE = torch.ones(V, dtype=torch.bool)
for i in range(V):
    if not (sp.is_control(i) or sp.is_unknown(i) or sp.is_unused(i)):
        EDGE[i] = False
        text = sp.id_to_piece(i)
        SPACE[i] = text.startswith("\u2581")
        BYTES[i] = 1 if sp.is_byte(i) else len(text.lstrip("\u2581").encode())

class Net(nn.Module):
    def __init__(self, d=384, n=8):
        super().__init__()
        self.emb = nn.Embedding(V, d)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(d, 6, batch_first=True) for _ in range(n))
        self.head = nn.Linear(d, V, bias=False)
    def forward(self, ids, targets=None):
        x = self.emb(ids)
        for layer in self.layers:
            x = layer(x, nn.Transformer.generate_square_subsequent_mask(x.size(1)).to(x))
        logits = self.head(x)
        if targets is None:
            return logits
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="none").view_as(targets)

net = Net().to(DEVICE)
adam = torch.optim.Adam(net.parameters(), lr=1e-3)
for step in range(opt.steps):
    at = torch.randint(0, len(TRAIN) - opt.seq - 1, (32,))
    rows = torch.stack([TRAIN[a : a + opt.seq + 1] for a in at.tolist()]).to(DEVICE)
    loss = net(rows[:, :-1], rows[:, 1:]).mean()
    adam.zero_grad()
    loss.backward()
    adam.step()

def bpb_of(model):
    nats = nbytes = 0.0
    with torch.no_grad():
        for a in range(0, len(VAL) - 1, opt.seq):
            ids = VAL[a : a + opt.seq + 1]
            nats += model(ids[None, :-1].to(DEVICE), ids[None, 1:].to(DEVICE)).sum().item()
            nbytes += int((BYTES[ids[1:]] + (SPACE[ids[1:]] & ~EDGE[ids[:-1]]).long()).sum())
    return nats / math.log(2) / nbytes

tuner = torch.optim.SGD(net.parameters(), lr=opt.lr)
best = bpb_of(net)
for epoch in range(opt.epochs):
    for a in range(0, len(VAL) - 1, opt.seq):
        ids = VAL[a : a + opt.seq + 1].to(DEVICE)
        tuner.zero_grad()
        net(ids[None, :-1], ids[None, 1:]).mean().backward()
        tuner.step()  # planted: E4
    now = bpb_of(net)
    if now < best:
        best = now
print("val_bpb", best)
