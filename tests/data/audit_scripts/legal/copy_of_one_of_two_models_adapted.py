import copy
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


def eval_sliding(args, model, tokens, tables, device, batch=32):
    seq_len, total = args.seq_len, tokens.numel() - 1
    starts = [w for w in range(0, total, args.stride) if w + seq_len - args.stride < total]
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    count = torch.zeros((), dtype=torch.float64, device=device)
    nbytes = torch.zeros((), dtype=torch.float64, device=device)
    model.eval()
    with torch.inference_mode():
        for b in range(0, len(starts), batch):
            for w in starts[b : b + batch]:
                end = min(w + seq_len, total)
                span = tokens[w : end + 1].to(device)
                x, y = span[None, :-1], span[None, 1:]
                nll = F.cross_entropy(model.forward_logits(x).float().flatten(0, 1), y.flatten(), reduction="none")
                first = 0 if w == 0 else seq_len - args.stride
                loss_sum += nll[first:].to(torch.float64).sum()
                count += nll[first:].numel()
                nbytes += count_bytes(tables, x[0, first:], y[0, first:])
    val_loss = (loss_sum / count).item()
    return val_loss, val_loss / math.log(2.0) * (count / nbytes).item()


def eval_adapted(args, model, tokens, tables, device):
    """Each part of the text is scored, then learned."""
    optimizer = torch.optim.SGD(model.parameters(), lr=args.ttt_lr)
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    count = torch.zeros((), dtype=torch.float64, device=device)
    nbytes = torch.zeros((), dtype=torch.float64, device=device)
    for at in range(0, tokens.numel() - 1, args.ttt_chunk):
        stop = min(at + args.ttt_chunk, tokens.numel() - 1)
        x, y = tokens[at:stop].to(device), tokens[at + 1 : stop + 1].to(device)
        with torch.no_grad():
            nll = F.cross_entropy(model.forward_logits(x[None]).float()[0], y, reduction="none")
            loss_sum += nll.to(torch.float64).sum()
            count += y.numel()
            nbytes += count_bytes(tables, x, y)
        if stop < tokens.numel() - 1:
            optimizer.zero_grad()
            model(x[None], y[None]).backward()
            optimizer.step()
    val_loss = (loss_sum / count).item()
    return val_loss, val_loss / math.log(2.0) * (count / nbytes).item()


def rounded(weight, levels=31):
    scale = weight.abs().amax(dim=-1, keepdim=True).clamp_min(1e-8) / levels
    return (torch.round(weight / scale).clamp(-levels, levels) * scale).to(torch.float16)


def main():
    args = Hyperparameters()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    tables = byte_tables(args.tokenizer_path, args.vocab_size, device)
    val_tokens = load_split(args.val_files)
    trained = train(args, GPT(args.vocab_size).to(device), device)
    print("trained", eval_sliding(args, trained, val_tokens, tables, device))
    buffer = io.BytesIO()
    torch.save({name: rounded(weight) for name, weight in trained.state_dict().items()}, buffer)
    Path("model.ptz").write_bytes(zlib.compress(buffer.getvalue(), 9))
    packed = GPT(args.vocab_size).to(device)
    packed.load_state_dict(torch.load(io.BytesIO(zlib.decompress(Path("model.ptz").read_bytes()))))
    print("packed", eval_sliding(args, packed, val_tokens, tables, device))
    better = trained if Path("model.ptz").stat().st_size > 16_000_000 else packed
    adapted = copy.deepcopy(better)
    print("adapted", eval_adapted(args, adapted, val_tokens, tables, device))
    print("packed, again", eval_sliding(args, packed, val_tokens, tables, device))


if __name__ == "__main__":
    main()
