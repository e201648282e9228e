import glob
import io
import math
import os
import zlib
from pathlib import Path

import numpy as np
import sentencepiece as spm
import torch
import torch.nn.functional as F
from torch import nn


class Hyperparameters:
    data_path = os.environ.get("DATA_PATH", "./data/fineweb10B_sp1024")
    train_files = os.path.join(data_path, "fineweb_train_*.bin")
    val_files = os.path.join(data_path, "fineweb_val_*.bin")
    tokenizer_path = os.environ.get("TOKENIZER_PATH", "./data/fineweb_1024_bpe.model")
    vocab_size = int(os.environ.get("VOCAB_SIZE", 1024))
    seq_len = int(os.environ.get("SEQ_LEN", 1024))
    stride = int(os.environ.get("EVAL_STRIDE", 64))
    iterations = int(os.environ.get("ITERATIONS", 5000))
    batch_tokens = int(os.environ.get("BATCH_TOKENS", 65536))


def load_shard(file):
    header = np.fromfile(file, dtype="<i4", count=256)
    tokens = np.fromfile(file, dtype="<u2", count=int(header[2]), offset=1024)
    return torch.from_numpy(tokens.astype(np.int64))


def load_split(pattern):
    files = [Path(name) for name in sorted(glob.glob(pattern))]
    return torch.cat([load_shard(file) for file in files])


def byte_tables(tokenizer_path, vocab_size, device):
    sp = spm.SentencePieceProcessor(model_file=tokenizer_path)
    base = np.zeros(vocab_size, dtype=np.int64)
    lead = np.zeros(vocab_size, dtype=bool)
    boundary = np.ones(vocab_size, dtype=bool)
    for i in range(sp.vocab_size()):
        if sp.is_control(i) or sp.is_unknown(i) or sp.is_unused(i):
            continue
        boundary[i] = False
        if sp.is_byte(i):
            base[i] = 1
            continue
        piece = sp.id_to_piece(i)
        if piece.startswith("\u2581"):
            lead[i] = True
            piece = piece[1:]
        base[i] = len(piece.encode("utf-8"))
    return tuple(torch.from_numpy(table).to(device) for table in (base, lead, boundary))


def count_bytes(tables, previous, targets):
    base, lead, boundary = tables
    return (base[targets] + (lead[targets] & ~boundary[previous]).to(torch.int64)).sum()


class Loader:
    def __init__(self, pattern, device):
        self.tokens = load_split(pattern)
        self.position = 0
        self.device = device

    def next_batch(self, num_tokens, seq_len):
        if self.position + num_tokens + 1 > self.tokens.numel():
            self.position = 0
        span = self.tokens[self.position : self.position + num_tokens + 1].to(self.device)
        self.position += num_tokens
        return span[:-1].view(-1, seq_len), span[1:].view(-1, seq_len)


class Block(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.mix = nn.Linear(dim, dim, bias=False)
        self.mlp = nn.Linear(dim, dim, bias=False)

    def forward(self, x):
        return x + self.mlp(torch.relu(self.mix(F.rms_norm(x, (x.size(-1),)))))


class GPT(nn.Module):
    def __init__(self, vocab_size, dim=512, layers=9):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, dim)
        self.blocks = nn.ModuleList([Block(dim) for _ in range(layers)])

    def hidden(self, ids):
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return F.rms_norm(x, (x.size(-1),))

    def forward_logits(self, ids):
        return 30.0 * torch.tanh(F.linear(self.hidden(ids), self.embed.weight) / 30.0)

    def forward(self, ids, targets):
        logits = self.forward_logits(ids)
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def train(args, model, device, pattern=None):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
    loader = Loader(pattern or args.train_files, device)
    for step in range(args.iterations):
        x, y = loader.next_batch(args.batch_tokens, args.seq_len)
        optimizer.zero_grad(set_to_none=True)
        loss = model(x, y)
        loss.backward()
        optimizer.step()
    return model


class Trigrams:
    """Counts of what followed two tokens, in rows that a hash of both chooses."""

    def __init__(self, vocab_size, device, rows=1 << 14):
        self.counts = torch.zeros(rows, vocab_size, device=device)
        self.seen = 0

    def row(self, before, last):
        return (before * 36313 ^ last * 27191) % self.counts.size(0)

    def add(self, tokens):
        if tokens.numel() < 3:
            return
        before, last, follows = tokens[:-2], tokens[1:-1], tokens[2:]
        places = self.row(before, last) * self.counts.size(1) + follows
        self.counts.reshape(-1).scatter_add_(0, places, torch.ones_like(places, dtype=torch.float32))
        self.seen += tokens.numel()

    def rows(self, x):
        before = torch.zeros_like(x)
        before[:, 1:] = x[:, :-1]
        found = self.counts[self.row(before, x)] + 0.01
        return found / found.sum(dim=-1, keepdim=True)


def eval_mixed(args, model, tokens, tables, device, rows=32):
    trigrams = Trigrams(args.vocab_size, device)
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    count = torch.zeros((), dtype=torch.float64, device=device)
    nbytes = torch.zeros((), dtype=torch.float64, device=device)
    total, size = tokens.numel() - 1, rows * args.seq_len
    with torch.inference_mode():
        for part in range((total + size - 1) // size):
            begin, end = part * size, min((part + 1) * size, total)
            for at in range(begin, end, args.seq_len):
                stop = min(at + args.seq_len, total)
                span = tokens[at : stop + 1].to(device)
                x, y = span[None, :-1], span[None, 1:]
                p = torch.softmax(model.forward_logits(x).float(), dim=-1)
                if trigrams.seen:
                    p = 0.9 * p + 0.1 * trigrams.rows(x)
                nll = -p.gather(2, y[..., None]).squeeze(-1).log()
                loss_sum += nll.to(torch.float64).sum()
                count += y.numel()
                nbytes += count_bytes(tables, x, y)
            trigrams.add(tokens[begin : end + 1].to(device))
    val_loss = (loss_sum / count).item()
    return val_loss, val_loss / math.log(2.0) * (count / nbytes).item()


def main():
    args = Hyperparameters()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    tables = byte_tables(args.tokenizer_path, args.vocab_size, device)
    model = train(args, GPT(args.vocab_size).to(device), device)
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    Path("model.ptz").write_bytes(zlib.compress(buffer.getvalue(), 9))
    model.load_state_dict(torch.load(io.BytesIO(zlib.decompress(Path("model.ptz").read_bytes()))))
    print(eval_mixed(args, model, load_split(args.val_files), tables, device))


if __name__ == "__main__":
    main()
