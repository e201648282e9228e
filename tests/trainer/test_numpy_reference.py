"""The model, Muon and GPTQ against formulas written out again in NumPy, in float64, loops and all (docs/recipe.md 2-4).

Golden vectors fix two settings of the model; here every switch is turned on alone, and all of them together.
"""

# T positions · D width · K head width · M rotated dimensions
from __future__ import annotations

import numpy as np
import pytest
import torch

from trainer.nn.gpt import GPT
from trainer.optim.muon import NS_COEFFICIENTS, Muon
from trainer.quant.gptq import Hessian, gptq_rows
from trainer.spec.recipe import Model

VOCAB_SIZE, NUM_TOKENS = 50, 24
SMALL = {
    "num_layers": 4,
    "model_dim": 32,
    "num_heads": 4,
    "num_kv_heads": 2,
    "mlp_hidden": 48,
    "smear_gate": "off",
    "bigram_buckets": 0,
    "compute_dtype": "float32",
}
EVERYTHING = {
    "smear_gate": "vector",
    "bigram_buckets": 64,
    "bigram_dim": 8,
    "value_embed_dim": 8,
    "value_embed_layers": (2,),
    "rope_dims": 6,
    "rope_native_tokens": 10,
    "xsa_layers": (1, 2),
    "ln_scale": True,
    "activation": "leaky_relu2",
    "skip_gates": True,
    "recur_loops": 2,
    "recur_first": 1,
    "recur_last": 1,
    "parallel_residual": "one_lane",
    "parallel_from": 3,
    "tie_embeddings": False,
}
SWITCHES = [
    {},
    {"smear_gate": "vector"},
    {"bigram_buckets": 32, "bigram_dim": 8},
    {"bigram_buckets": 32, "bigram_dim": 32, "bigram_first": "zero"},
    {"value_embed_dim": 8, "value_embed_layers": (1, 3)},
    {"rope_dims": 4},
    {"rope_dims": 4, "rope_native_tokens": 8},
    {"xsa_layers": (0, 3)},
    {"ln_scale": True},
    {"activation": "leaky_relu2"},
    {"skip_gates": True},
    {"parallel_residual": "one_lane", "parallel_from": 2},
    {"recur_loops": 2, "recur_first": 1, "recur_last": 2},
    {"tie_embeddings": False},
    {"num_layers": 5},
    {"num_kv_heads": 1},
    EVERYTHING,
]


class Reference:
    """One forward of a model section with given weights, for one row of ids."""

    def __init__(self, model: Model, weights: dict[str, np.ndarray], ids: np.ndarray):
        self.m, self.w, self.ids = model, weights, ids
        self.head_dim = model.model_dim // model.num_heads
        self.x0 = self.embedded()
        self.values = self.extra_values()

    def logits(self) -> np.ndarray:
        x, skips = self.x0, []
        order = self.order()
        half = len(order) // 2
        for layer in order[:half]:
            x = self.block(layer, x)
            skips.append(x)
        for place, layer in enumerate(order[half:]):
            if skips:
                x = self.skipped(place, x, skips.pop())
            x = self.block(layer, x)
        z = rms(x) @ self.w["tok_emb.weight" if self.m.tie_embeddings else "head.weight"].T
        return self.m.logit_softcap * np.tanh(z / self.m.logit_softcap)

    def order(self) -> list[int]:
        first, last = self.m.recur_first, self.m.recur_last
        layers = list(range(self.m.num_layers))
        return layers[:first] + layers[first : last + 1] * (self.m.recur_loops + 1) + layers[last + 1 :]

    def skipped(self, place, x, skip):
        skip = self.w["skip_weights"][place] * skip
        if not self.m.skip_gates:
            return x + skip
        gate = sigmoid(self.w["skip_gates"][place])
        return gate * x + (1 - gate) * skip

    def embedded(self):
        x = self.w["tok_emb.weight"][self.ids]
        if self.m.bigram_buckets:
            rows = self.w["bigram.embed.weight"][[self.bucket(p) for p in range(len(self.ids))]]
            projection = self.w.get("bigram.proj.weight")
            x = x + self.w["bigram.scale"] * (rows if projection is None else rows @ projection.T)
        x = rms(x)
        if self.m.smear_gate == "vector":
            gate = sigmoid(self.w["smear.gate"])
            x = (1 - gate) * x + gate * np.vstack([np.zeros_like(x[:1]), x[:-1]])
        return x

    def bucket(self, p: int) -> int:
        if p == 0 and self.m.bigram_first == "reserved":
            return self.m.bigram_buckets - 1
        before = int(self.ids[p - 1]) if p else 0
        return ((36313 * int(self.ids[p])) ^ (27191 * before)) % (self.m.bigram_buckets - 1)

    def extra_values(self):
        if not self.m.value_embed_dim:
            return {}
        rows = self.w["ve_shared.embed.weight"][self.ids] @ self.w["ve_shared.proj.weight"].T
        shared = self.w["ve_shared.scale"] * rows
        return {layer: self.w[f"ve_layer_scales.{i}"] * shared for i, layer in enumerate(self.m.value_embed_layers)}

    def block(self, layer, x):
        own = {name.removeprefix(f"blocks.{layer}."): w for name, w in self.w.items()}
        scale = (layer + 1) ** -0.5 if self.m.ln_scale else 1.0
        mixed = own["resid_mix"][0] * x + own["resid_mix"][1] * self.x0
        normed = rms(mixed) * scale
        y = mixed + own["attn_scale"] * self.attention(layer, own, normed)
        parallel = self.m.parallel_residual == "one_lane" and layer >= self.m.parallel_from
        u = (normed if parallel else rms(y) * scale) @ own["mlp.fc.weight"].T
        slope = 0.5 if self.m.activation == "leaky_relu2" else 0.0
        return y + own["mlp_scale"] * (np.where(u > 0, u, slope * u) ** 2 @ own["mlp.proj.weight"].T)

    def attention(self, layer, own, normed):
        q, k = (self.heads(normed @ own[f"attn.{name}.weight"].T) for name in ("c_q", "c_k"))
        v = self.heads(normed @ own["attn.c_v.weight"].T + self.values.get(layer, 0.0))
        heads = []
        for head in range(self.m.num_heads):
            shared = head * self.m.num_kv_heads // self.m.num_heads
            turned = self.rotated(rms(q[head])) * own["attn.q_gain"][head]
            scores = turned @ self.rotated(rms(k[shared])).T / self.head_dim**0.5
            scores[np.triu_indices(len(scores), 1)] = -np.inf
            shares = np.exp(scores - scores.max(axis=1, keepdims=True))
            y = shares / shares.sum(axis=1, keepdims=True) @ v[shared]
            if layer in self.m.xsa_layers:
                along = v[shared] / np.maximum(np.linalg.norm(v[shared], axis=1, keepdims=True), 1e-12)
                y = y - (y * along).sum(axis=1, keepdims=True) * along
            heads.append(y)
        return np.concatenate(heads, axis=1) @ own["attn.proj.weight"].T

    def heads(self, x):
        return x.reshape(len(x), -1, self.head_dim).swapaxes(0, 1)

    def rotated(self, x_TK):
        num_dims, num_tokens, base = self.m.rope_dims or self.head_dim, len(x_TK), self.m.rope_base
        if self.m.rope_native_tokens and num_tokens > self.m.rope_native_tokens:
            base *= (num_tokens / self.m.rope_native_tokens) ** (num_dims / (num_dims - 2))
        half = num_dims // 2
        angles = np.outer(np.arange(num_tokens), base ** (-2 * np.arange(half) / num_dims))
        a, b, rest = x_TK[:, :half], x_TK[:, half:num_dims], x_TK[:, num_dims:]
        return np.hstack([a * np.cos(angles) + b * np.sin(angles), b * np.cos(angles) - a * np.sin(angles), rest])


def rms(x):
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1.1920929e-7)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("switches", SWITCHES, ids=lambda switches: "+".join(switches) or "plain")
def test_the_model_computes_what_the_formulas_say(switches):
    section, generator = Model(**{**SMALL, **switches}), torch.Generator().manual_seed(1)
    model = GPT(section, VOCAB_SIZE)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    ids = torch.randint(VOCAB_SIZE, (NUM_TOKENS,), generator=generator)
    weights = {name: weight.double().numpy() for name, weight in model.state_dict().items()}
    difference = np.abs(model(ids[None])[0].detach().numpy() - Reference(section, weights, ids.numpy()).logits())
    assert difference.max() < 1e-4, f"max {difference.max():g}, mean {difference.mean():g}"


@pytest.mark.parametrize("coefficients", NS_COEFFICIENTS)
@pytest.mark.parametrize("row_normalize", [False, True])
def test_three_steps_of_muon_are_those_of_the_formulas(coefficients, row_normalize):
    generator = torch.Generator().manual_seed(0)
    start, *gradients = torch.randn(4, 24, 10, generator=generator)
    parameter = torch.nn.Parameter(start.clone())
    settings = {"ns_coefficients": coefficients, "row_normalize": row_normalize, "ns_dtype": torch.float32}
    muon = Muon([parameter], lr=0.1, weight_decay=0.3, momentum=0.9, **settings)
    weight, momentum = start.double().numpy(), np.zeros(start.shape)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        muon.step()
        momentum = 0.9 * momentum + gradient.double().numpy()
        update = gradient.double().numpy() + 0.9 * momentum
        if row_normalize:
            update = update / np.linalg.norm(update, axis=1, keepdims=True)
        x = update.T / np.linalg.norm(update)
        for a, b, c in NS_COEFFICIENTS[coefficients]:
            gram = x @ x.T
            x = a * x + (b * gram + c * gram @ gram) @ x
        weight = (1 - 0.1 * 0.3) * weight - 0.1 * 2.4**0.5 * x.T
    assert np.abs(parameter.detach().numpy() - weight).max() < 1e-5


def test_gptq_is_column_after_column_with_the_inverse_hessian_updated_each_time():
    draw = np.random.default_rng(0)
    inputs, weight = draw.normal(size=(400, 20)) @ draw.normal(size=(20, 20)), draw.normal(size=(6, 20))
    inputs[:, 3] = 0  # never met an input
    hessian = inputs.T @ inputs
    codes, scales = gptq_rows(torch.tensor(weight).float(), Hessian(torch.tensor(hessian)), bits=6, clip_stds=8.0)
    step = np.float16(8.0 * weight.astype(np.float32).std(axis=1, ddof=1) / 31).astype(float)
    hessian[3, 3], weight[:, 3] = 1, 0
    order = np.argsort(-np.diag(hessian), kind="stable")
    left, expected = weight[:, order], np.zeros_like(weight)
    inverse = np.linalg.inv(hessian[order][:, order] + 0.01 * np.diag(hessian).mean() * np.eye(20))
    for place, column in enumerate(order):
        expected[:, column] = np.clip(np.round(left[:, place] / step), -31, 31)
        error = (left[:, place] - expected[:, column] * step) / inverse[place, place]
        left = left - np.outer(error, inverse[place])
        inverse = inverse - np.outer(inverse[:, place], inverse[place]) / inverse[place, place]
    assert np.array_equal(codes.numpy(), expected)
    assert np.array_equal(scales.numpy(), step)
