import argparse
import importlib.util
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F


def module_at(path):
    spec = importlib.util.spec_from_file_location("the_entry", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["the_entry"] = module
    spec.loader.exec_module(module)
    return module


def bits(entry, model, text):
    nats, size, lengths = 0.0, 0, entry.sizes()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for start in range(0, text.numel() - 1, entry.LENGTH):
        span = text[start : start + entry.LENGTH + 1]
        with torch.no_grad():
            nats += F.cross_entropy(model(span[None, :-1])[0].float(), span[1:], reduction="sum").item()
        size += lengths[span[1:]].sum().item()
        optimizer.zero_grad()
        entry.loss_of(model, span).backward()
        optimizer.step()
    return nats / math.log(2.0) / size


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--run", type=Path, required=True)
    options = parser.parse_args()
    entry = module_at((options.run / "entry.py").resolve())
    model = entry.Model()
    model.load_state_dict(torch.load(options.run / "weights.pt", map_location="cpu"))
    print(bits(entry, model, entry.tokens_of("fineweb_val_*.bin")))


if __name__ == "__main__":
    main()
