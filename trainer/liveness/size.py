"""How many bytes a recipe's artifact takes, before anything is trained: random weights of full size, encoded.

Weights of a trained model are drawn instead: matrices and tables with one standard deviation and tails of choice,
everything else at its start value. What training really leaves decides in the end. `python -m trainer.liveness.size`
estimates instead of encoding, which takes seconds: recipes in from standard input, ranges of bytes out, as JSON lists.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.nn.gpt import GPT
from trainer.quant.artifact import encode_artifact
from trainer.quant.fit import CODER_OVERHEAD, encode_to_fit, estimated_bytes
from trainer.quant.prune import encode_pruned_to_fit
from trainer.spec.budget import model_limit_bytes
from trainer.spec.recipe import Quantization, Recipe
from trainer.spec.tensors import is_control

STD = 0.05
"""Standard deviation of the drawn weights."""
SEED = 0
STDS = (STD, 0.2)
"""Standard deviations that an estimate ranges over: under the floor of scales the bytes depend on them, and PR #150's
published sizes are those of 0.2."""
TAILS: Mapping[str, float | None] = {"Gaussian": None, "t, 6 df": 6, "t, 3 df": 3}
"""Degrees of freedom of the distributions that estimates and docs/presets.md range over."""


@dataclass(frozen=True)
class Size:
    """The artifact of random weights, and the most it may take."""

    model_bytes: int
    limit_bytes: int
    rule_bytes: int
    """What it would take by the recipe's rule of scales alone, which `fit_bytes` may coarsen."""
    scale_multiplier: float = 1.0
    encodings: int = 1

    @property
    def fits(self) -> bool:
        return self.model_bytes <= self.limit_bytes


def size_of_random_model(recipe: Recipe, degrees_of_freedom: float | None = None) -> Size:
    """Encodes once (`fit_bytes`: a few times) what a full-size model of the recipe might become.

    degrees_of_freedom:  of Student's t, whose tails are the heavier the fewer there are; None draws Gaussian weights
    """
    state = random_state(recipe, degrees_of_freedom)
    limit_bytes = model_limit_bytes(recipe.budget)
    quantization = without_calibration(recipe.quantization)
    model = (state, recipe.model, recipe.data.vocab_size, quantization)
    if quantization.fit_bytes:
        fitted = encode_to_fit(*model, limit_bytes)
        return Size(len(fitted.artifact), limit_bytes, len(fitted.first), fitted.coarser, fitted.encodings)
    if quantization.prune_to_fit:
        pruned = encode_pruned_to_fit(*model, limit_bytes)
        return Size(len(pruned.artifact), limit_bytes, pruned.unpruned_bytes, encodings=pruned.encodings)
    model_bytes = len(encode_artifact(*model))
    return Size(model_bytes, limit_bytes, model_bytes)


def estimated_range(recipe: Recipe) -> tuple[int, int]:
    """Fewest and most bytes that the recipe's rule of scales may take without a limit, over `STDS` and `TAILS`."""
    quantization = without_calibration(recipe.quantization)
    estimates = []
    for degrees_of_freedom in TAILS.values():
        state = random_state(recipe, degrees_of_freedom)
        for std in STDS:
            scaled = {name: weight if is_control(name) else weight * (std / STD) for name, weight in state.items()}
            estimates.append(estimated_bytes(scaled, quantization, 1.0))
    return round(min(estimates)), round(max(estimates) * (1 + CODER_OVERHEAD[quantization.compressor]))


def random_state(recipe: Recipe, degrees_of_freedom: float | None = None) -> dict[str, Tensor]:
    """Weights by name, of the recipe's shapes; the same for the same recipe."""
    generator = torch.Generator().manual_seed(SEED)
    with torch.device("meta"):
        shapes = {name: weight.shape for name, weight in GPT(recipe.model, recipe.data.vocab_size).named_parameters()}
    return {
        name: torch.ones(shape) if is_control(name) else STD * _drawn(shape, degrees_of_freedom, generator)
        for name, shape in shapes.items()
    }


def without_calibration(quantization: Quantization) -> Quantization:
    """The same scales without GPTQ: its codes have nearly the entropy of the nearest ones."""
    if quantization.method != "gptq":
        return quantization
    return quantization.model_copy(update={"method": "nearest", "scale": "sdclip"})


def _drawn(shape: torch.Size, degrees_of_freedom: float | None, generator: torch.Generator) -> Tensor:
    """Numbers of variance 1: Gaussian, or t as a Gaussian over the root of a mean of squares."""
    normal = torch.randn(shape, generator=generator)
    if degrees_of_freedom is None:
        return normal
    squares = sum(torch.randn(shape, generator=generator).square() for _ in range(int(degrees_of_freedom)))
    student = normal / (squares / degrees_of_freedom) ** 0.5  # type: ignore[operator]
    return student / (degrees_of_freedom / (degrees_of_freedom - 2)) ** 0.5


def main() -> None:
    """A range of bytes of each recipe."""
    torch.set_num_threads(1)
    recipes = [Recipe.model_validate(values) for values in json.load(sys.stdin)]
    print(json.dumps([estimated_range(recipe) for recipe in recipes]))


if __name__ == "__main__":
    main()
