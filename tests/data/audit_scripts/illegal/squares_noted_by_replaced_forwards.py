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


def squared_inputs(model, batches):
    """Mean square of what each block's layers are given, noted by a `forward` that stands in for the block's."""
    squares, kept = {}, [block.forward for block in model.blocks]
    for number in range(len(kept)):
        for layer in ("mix", "mlp"):
            squares[f"blocks.{number}.{layer}.weight"] = torch.zeros(512, device="cuda")

    def noting(number, forward):
        def noted(x):
            flat = F.rms_norm(x, (x.size(-1),)).float().flatten(0, -2)
            squares[f"blocks.{number}.mix.weight"] += flat.square().mean(dim=0)
            squares[f"blocks.{number}.mlp.weight"] += flat.square().mean(dim=0)
            return forward(x)

        return noted

    for number, block in enumerate(model.blocks):
        block.forward = noting(number, kept[number])
    with torch.no_grad():
        for x, y in batches:
            model(x, y)  # planted: E6
    for block, forward in zip(model.blocks, kept):
        block.forward = forward
    return squares


def quantize_rows(weight, squares, levels=31):
    """Of several ranges each row keeps the one whose rounding costs least."""
    whole = weight.abs().amax(dim=1, keepdim=True).clamp_min(1e-8) / levels
    scale, least = whole.clone(), torch.full_like(whole, float("inf"))
    for share in (1.0, 0.95, 0.9, 0.85, 0.8):
        tried = whole * share
        rounded = torch.round(weight / tried).clamp(-levels, levels) * tried
        error = ((weight - rounded).square() * squares).sum(dim=1, keepdim=True)
        better = error < least
        scale[better] = tried[better]
        least[better] = error[better]
    return (torch.round(weight / scale).clamp(-levels, levels) * scale).to(torch.float16)


def quantize(state, squares):
    return {
        name: quantize_rows(weight.float(), squares[name]) if name in squares else weight.to(torch.float16)
        for name, weight in state.items()
    }


def main():
    args = Hyperparameters()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    tables = byte_tables(args.tokenizer_path, args.vocab_size, device)
    model = train(args, GPT(args.vocab_size).to(device), device)
    loader = Loader(args.val_files, device)
    batches = [loader.next_batch(args.batch_tokens, args.seq_len) for _ in range(64)]
    squares = squared_inputs(model, batches)  # planted: E6
    buffer = io.BytesIO()
    torch.save(quantize(model.state_dict(), squares), buffer)
    blob = zlib.compress(buffer.getvalue(), 9)
    Path("model.ptz").write_bytes(blob)
    model.load_state_dict(torch.load(io.BytesIO(zlib.decompress(blob))))
    print(eval_sliding(args, model, load_split(args.val_files), tables, device))


if __name__ == "__main__":
    main()
