"""Adaptation, imported by the script beside it."""
import math

import torch


class Adapter:
    def __init__(self, model, lr, epochs):
        self.model, self.epochs = model, epochs
        self.optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)

    @torch.no_grad()
    def score(self, x, y):
        self.model.eval()
        return self.model(x, y)

    def learn(self, x, y):
        self.model.train()
        for _ in range(self.epochs):
            self.optimizer.zero_grad()
            self.model(x, y).backward()
            self.optimizer.step()  # planted: E3


def bits_per_byte(adapter, tokens, size, count_bytes, device):
    nats = nbytes = 0.0
    for start in range(0, tokens.numel() - 1, size):
        part = tokens[start : start + size + 1].to(device)
        x, y = part[None, :-1], part[None, 1:]
        adapter.learn(x, y)
        nats += adapter.score(x, y).item() * y.numel()
        nbytes += count_bytes(x[0], y[0]).item()
    return nats / math.log(2.0) / nbytes
