import glob
import io
import math
import os
import zlib
from pathlib import Path

import numpy as np
import sentencepiece as spm
import torch
import torch.distributed as dist
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
    ttt_lr = float(os.environ.get("TTT_LR", 0.002))
    ttt_epochs = int(os.environ.get("TTT_EPOCHS", 3))
    ttt_chunk = int(os.environ.get("TTT_CHUNK", 32768))


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


class Adapters(nn.Module):
    def __init__(self, num, dim, vocab_size, rank):
        super().__init__()
        self.A = nn.Parameter(torch.empty(num, rank, dim))
        self.B = nn.Parameter(torch.zeros(num, vocab_size, rank))
        self.reset()

    def reset(self):
        with torch.no_grad():
            self.A.uniform_(-1 / math.sqrt(self.A.size(-1)), 1 / math.sqrt(self.A.size(-1)))
            self.B.zero_()

    def delta(self, x):
        return x @ self.A.transpose(1, 2) @ self.B.transpose(1, 2)


def token_losses(model, lora, x, y):
    h = model.hidden(x)
    logits = F.linear(h, model.embed.weight) + lora.delta(h)
    return F.cross_entropy(logits.float().flatten(0, 1), y.flatten(), reduction="none").view_as(y)


def documents(tokens, bos=1):
    starts = (tokens == bos).nonzero(as_tuple=True)[0].tolist()
    ends = [*starts[1:], tokens.numel() - 1]
    return [(start, end + 1 - start) for start, end in zip(starts, ends)]


def accumulate(losses, x, y, row, first, length, tables, sums):
    with torch.no_grad():
        sums[0] += losses[row, first : first + length].to(torch.float64).sum()
        sums[1] += length
        sums[2] += count_bytes(tables, x[row, first : first + length], y[row, first : first + length])


def window(c, length, chunk):
    """Where the window of a chunk begins and ends, and which of its targets are new; nothing behind the document."""
    begin, end = min(c * chunk, length), min((c + 1) * chunk, length)
    left = max(0, end - 1024)
    return left, end, begin - left, end - begin


def evaluate_documents(args, model, tokens, tables, device, batch=64, chunk=256):
    for p in model.parameters():
        p.requires_grad_(False)
    docs = documents(tokens)
    docs.sort(key=lambda doc: (doc[1] - 2) // chunk)
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    lora = Adapters(batch, 512, args.vocab_size, 8).to(device)
    optimizer = torch.optim.Adam(lora.parameters(), lr=0.01, betas=(0.9, 0.95), eps=1e-10)
    for b in range(0, len(docs), batch):
        group = docs[b : b + batch]
        lora.reset()
        for state in optimizer.state.values():
            for value in state.values():
                value.zero_()
        lengths = [length - 1 for _, length in group]
        chunks = [(length + chunk - 1) // chunk for length in lengths]
        c = 0
        plans = [window(c, length, chunk) for length in lengths]
        while c < max(chunks):
            x = torch.zeros(len(group), 1024, dtype=torch.int64, device=device)
            y = torch.zeros(len(group), 1024, dtype=torch.int64, device=device)
            for i, (start, _) in enumerate(group):
                begin, end, _, _ = plans[i]
                span = tokens[start + begin : start + end + 1].to(device)
                x[i, : end - begin], y[i, : end - begin] = span[:-1], span[1:]
            losses = token_losses(model, lora, x, y)
            for i, (_, _, first, length) in enumerate(plans):
                accumulate(losses, x, y, i, first, length, tables, sums)
            if any(c < chunks[i] - 1 for i in range(len(group))):
                mask = torch.tensor([float(c < chunks[i] - 1) for i in range(len(group))], device=device)
                part = losses[:, plans[0][2] : plans[0][2] + chunk].mean(dim=-1)
                optimizer.zero_grad()
                (part * mask).sum().backward()
                optimizer.step()
            c += 1
            plans = [window(c, length, chunk) for length in lengths]
    val_loss = (sums[0] / sums[1]).item()
    return val_loss, val_loss / math.log(2.0) * (sums[1] / sums[2]).item()


def main():
    args = Hyperparameters()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    tables = byte_tables(args.tokenizer_path, args.vocab_size, device)
    model = train(args, GPT(args.vocab_size).to(device), device)
    print("lora", evaluate_documents(args, model, load_split(args.val_files), tables, device))


if __name__ == "__main__":
    main()
