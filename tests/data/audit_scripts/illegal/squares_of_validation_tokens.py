import glob
import io
import math
import os
import zlib

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


@torch.no_grad()
def scored(model, text):
    nats, count, size, lengths = 0.0, 0, 0, sizes()
    for start in range(0, text.numel() - 1, LENGTH):
        span = text[start : start + LENGTH + 1]
        nats += loss_of(model, span, "sum").item()
        count += span.numel() - 1
        size += lengths[span[1:]].sum().item()
    return nats, count, size


def squares(model, spans):
    found, handles = {}, []

    def watch(name):
        def seen(module, inputs, output):
            x = inputs[0].detach().reshape(-1, inputs[0].size(-1)).float()
            found[name] = found.get(name, 0) + x.t() @ x

        return seen

    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            handles.append(module.register_forward_hook(watch(name)))
    with torch.no_grad():
        for span in spans:
            model(span[None])  # planted: E6
    for handle in handles:
        handle.remove()
    return found


def rounded(w, h):
    h = h + 0.01 * h.diagonal().mean() * torch.eye(h.size(0))
    dead = torch.diag(h) == 0
    h[dead, dead] = 1
    order = torch.argsort(torch.diag(h), descending=True)
    w, inverse = w[:, order].clone(), torch.cholesky_inverse(torch.linalg.cholesky(h[order][:, order]))
    scale, q = w.abs().amax(dim=1) / 31, torch.zeros_like(w)
    for i in range(w.size(1)):
        q[:, i] = torch.round(w[:, i] / scale)
        w[:, i:] -= ((w[:, i] - q[:, i] * scale) / inverse[i, i])[:, None] * inverse[i, i:][None]
    return (q * scale[:, None])[:, torch.argsort(order)]


if __name__ == "__main__":
    model = Model()
    pretrain(model)
    text = tokens_of("fineweb_val_*.bin")
    some = tokens_of("fineweb_val_*.bin")
    found = squares(model, [some[i * LENGTH : (i + 1) * LENGTH] for i in range(64)])  # planted: E6
    with torch.no_grad():
        for name, module in model.named_modules():
            if name in found:
                module.weight.copy_(rounded(module.weight.data, found[name]))
    tell(*scored(model, text))
