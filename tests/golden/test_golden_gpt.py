"""The model against a reference implementation's outputs, float32 on CPU (docs/recipe.md 2)."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from trainer.nn.gpt import GPT
from trainer.spec.recipe import Model

FOLDER = Path(__file__).parent
FILES = ["gpt_full_rope", "gpt_partial_rope_xsa_lnscale"]


def model_section(config: dict) -> Model:
    num_layers = config["num_layers"]
    return Model(
        num_layers=num_layers,
        model_dim=config["model_dim"],
        num_heads=config["num_heads"],
        num_kv_heads=config["num_kv_heads"],
        mlp_hidden=config["mlp_mult"] * config["model_dim"],
        tie_embeddings=config["tie_embeddings"],
        rope_base=config["rope_base"],
        rope_dims=config["rope_dims"],
        logit_softcap=config["logit_softcap"],
        bigram_buckets=config["bigram_buckets"],
        bigram_dim=config["bigram_dim"],
        xsa_layers=tuple(range(num_layers - config["xsa_last_n"], num_layers)),
        ln_scale=config["ln_scale"],
        compute_dtype="float32",
    )


@pytest.fixture(params=FILES)
def case(request) -> SimpleNamespace:
    """One golden file and what our model makes of it."""
    golden = np.load(FOLDER / f"{request.param}.npz")
    config = json.loads(str(golden["config"]))
    model = GPT(model_section(config), config["vocab_size"])
    parameters = {name.removeprefix("param/"): golden[name] for name in golden.files if name.startswith("param/")}
    model.load_state_dict({name: torch.tensor(value).float() for name, value in parameters.items()})
    ids_BT, targets_BT = (torch.tensor(golden[name].astype(np.int64)) for name in ("x", "y"))
    logits_BTV = model(ids_BT)
    nll_BT = F.cross_entropy(logits_BTV.transpose(1, 2), targets_BT, reduction="none")
    nll_BT.mean().backward()
    return SimpleNamespace(golden=golden, model=model, logits_BTV=logits_BTV, nll_BT=nll_BT)


def largest_share(actual: torch.Tensor, expected: np.ndarray) -> float:
    """Largest difference as a share of the expected values' range."""
    return float(np.abs(actual.detach().numpy() - expected).max() / np.ptp(expected))


def test_logits_meet_the_reference(case):
    assert largest_share(case.logits_BTV, case.golden["logits"]) < 2e-5


def test_nats_of_each_token_meet_the_reference(case):
    assert largest_share(case.nll_BT, case.golden["nll"]) < 2e-5
    assert case.nll_BT.mean().item() == pytest.approx(float(case.golden["loss"]), rel=1e-6)


def test_gradient_norms_meet_the_reference(case):
    for name, parameter in case.model.named_parameters():
        assert parameter.grad.norm().item() == pytest.approx(float(case.golden[f"gradnorm/{name}"]), rel=2e-5), name
