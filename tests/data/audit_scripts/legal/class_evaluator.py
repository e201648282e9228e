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

class Evaluator:
    """Scores a chunk, then learns from it; keeps the sums itself."""
    def __init__(self, model, text):
        self.model, self.text = model, text
        self.nats = self.count = self.nbytes = 0.0
        self.sgd = torch.optim.SGD(model.parameters(), lr=opt.lr, momentum=0.9)
    def score(self, a, b):
        ids = self.text[a : b + 1].to(DEVICE)
        self.model.eval()
        with torch.no_grad():
            nll = self.model(ids[None, :-1], ids[None, 1:])
        self.nats += nll.double().sum().item()
        self.count += b - a
        t, q = ids[1:].cpu(), ids[:-1].cpu()
        self.nbytes += (BYTES[t] + (SPACE[t] & ~EDGE[q]).long()).sum().item()
    def learn(self, a, b):
        ids = self.text[a : b + 1].to(DEVICE)
        self.model.train()
        for _ in range(opt.epochs):
            self.sgd.zero_grad()
            self.model(ids[None, :-1], ids[None, 1:]).mean().backward()
            self.sgd.step()
    def run(self):
        end = len(self.text) - 1
        for a in range(0, end, opt.chunk):
            b = min(a + opt.chunk, end)
            self.score(a, b)
            if b < end:
                self.learn(a, b)
        return self.nats / self.count, self.nats / math.log(2) / self.nbytes

print("val_loss %.6f val_bpb %.6f" % Evaluator(net, VAL).run())
