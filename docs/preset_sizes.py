"""`python docs/preset_sizes.py`: encodes every preset at full size and writes docs/preset_sizes.csv, over an hour.

Random weights of three tail weights, by the preset's rule of scales, and by the row maximum where its rule is the
floor; each made to fit the limit by `quantization.fit_bytes`. What is encoded in the file already is kept, so that a
second call goes on: delete the file to measure anew. With `--estimate`, what is not encoded yet is only estimated.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path

from trainer.liveness.size import TAILS, random_state, size_of_random_model, without_calibration
from trainer.quant.fit import estimated_bytes, estimated_multiplier
from trainer.spec.budget import model_limit_bytes
from trainer.spec.load import load_preset, preset_names
from trainer.spec.recipe import Recipe

FILE = Path(__file__).parent / "preset_sizes.csv"
FITTING = {"quantization.fit_bytes": True, "quantization.qat": "off"}
Case = tuple[str, str, str]
"""Preset, rule of scales, tails."""


@dataclass(frozen=True)
class SizeRow:
    """One line of the file: the artifact of a preset's random weights, under one rule of scales, made to fit."""

    preset: str
    scale: str
    tails: str
    rule_bytes: int
    """By the rule alone."""
    model_bytes: int
    """With `fit_bytes`."""
    limit_bytes: int
    scale_multiplier: float
    encodings: int
    """0: the bytes are estimated."""
    entropy_bytes: int
    """The estimate by the entropy of the codes, at that multiplier."""

    @property
    def case(self) -> Case:
        return self.preset, self.scale, self.tails


def cases() -> list[Case]:
    """Of every row: the presets' own rules, then the row maximum where that is another rule; Gaussian weights first."""
    rules = {name: own_rule(load_preset(name).recipe) for name in preset_names() if name != "tiny"}
    own = [(name, rule, tails) for tails in TAILS for name, rule in rules.items()]
    return own + [(name, "row_max", tails) for tails in TAILS for name, rule in rules.items() if rule == "floor"]


def own_rule(recipe: Recipe) -> str:
    """The rule of scales of a recipe; GPTQ's is SDClip."""
    return without_calibration(recipe.quantization).scale


def fitting_recipe(name: str, scale: str) -> Recipe:
    """The preset under this rule, made to fit."""
    preset = load_preset(name, FITTING).recipe
    return preset if own_rule(preset) == scale else load_preset(name, FITTING | {"quantization.scale": scale}).recipe


def encoded(name: str, scale: str, tails: str) -> SizeRow:
    """Encodes, up to three times; the estimate beside it is that of `estimated`, at the multiplier that fits."""
    recipe = fitting_recipe(name, scale)
    size = size_of_random_model(recipe, TAILS[tails])
    state, quantization = random_state(recipe, TAILS[tails]), without_calibration(recipe.quantization)
    entropy_bytes = round(estimated_bytes(state, quantization, size.scale_multiplier))
    fitted = size.model_bytes, size.limit_bytes, round(size.scale_multiplier, 4), size.encodings
    return SizeRow(name, scale, tails, size.rule_bytes, *fitted, entropy_bytes)


def estimated(name: str, scale: str, tails: str) -> SizeRow:
    """The same by the entropy of the codes."""
    recipe = fitting_recipe(name, scale)
    state, quantization = random_state(recipe, TAILS[tails]), without_calibration(recipe.quantization)
    limit_bytes = model_limit_bytes(recipe.budget)
    multiplier = estimated_multiplier(state, quantization, limit_bytes)
    rule_bytes, model_bytes = (round(estimated_bytes(state, quantization, one)) for one in (1.0, multiplier))
    return SizeRow(name, scale, tails, rule_bytes, model_bytes, limit_bytes, round(multiplier, 4), 0, model_bytes)


def read_rows() -> dict[Case, SizeRow]:
    """The rows of the file."""
    if not FILE.exists():
        return {}
    with FILE.open(encoding="utf-8", newline="") as lines:
        rows = [_row(cells) for cells in csv.DictReader(lines)]
    return {row.case: row for row in rows}


def _row(cells: Mapping[str, str]) -> SizeRow:
    kinds = {"str": str, "int": int, "float": float}
    return SizeRow(**{name: kinds[str(kind)](cells[name]) for name, kind in SizeRow.__annotations__.items()})


def _write(rows: Mapping[Case, SizeRow]) -> None:
    with FILE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(SizeRow.__annotations__)
        writer.writerows(astuple(rows[case]) for case in cases() if case in rows)


def _missing(known: Mapping[Case, SizeRow], estimate: bool) -> Iterator[SizeRow]:
    """Presets with the same artifact (PR #150's versions) are encoded once."""
    by_artifact = {_artifact_of(*case): row for case, row in known.items() if row.encodings or estimate}
    for case in cases():
        if case in known and (known[case].encodings or estimate):
            continue
        artifact = _artifact_of(*case)
        if artifact not in by_artifact:
            by_artifact[artifact] = estimated(*case) if estimate else encoded(*case)
        yield replace(by_artifact[artifact], preset=case[0])


def _artifact_of(name: str, scale: str, tails: str) -> tuple[object, ...]:
    recipe = fitting_recipe(name, scale)
    without_qat = {"qat": "off", "qat_late_below": 0.1, "qat_sees": "integers"}
    quantization = recipe.quantization.model_copy(update=without_qat)
    return recipe.model, recipe.data.vocab_size, quantization, recipe.budget.artifact_bytes, tails


def main() -> None:
    """Writes each row as it is known."""
    rows = read_rows()
    for row in _missing(dict(rows), estimate="--estimate" in sys.argv[1:]):
        rows[row.case] = row
        _write(rows)
        print(row, flush=True)


if __name__ == "__main__":
    main()
