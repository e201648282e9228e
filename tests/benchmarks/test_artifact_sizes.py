"""Bytes of every preset's artifact at full size, for random weights of three tail weights; prints a table row of each.

An artifact that its preset's own rule leaves beyond the limit has to fit with `quantization.fit_bytes`.
"""

import pytest

from trainer.liveness.size import Size, size_of_random_model
from trainer.spec.load import load_preset, preset_names

pytestmark = pytest.mark.bench
TAILS = {"Gaussian": None, "t, 6 df": 6, "t, 3 df": 3}
NAMES = [name for name in preset_names() if name != "tiny"]


def row(name: str, rule: str, size: Size, tails: str) -> str:
    return f"| {name} | {tails} | {rule} | {size.model_bytes:,} | {size.scale_multiplier:.3f} | {size.encodings} |"


@pytest.mark.parametrize("tails", TAILS)
@pytest.mark.parametrize("name", NAMES)
def test_every_preset_fits_by_its_own_rule_or_by_fit_bytes(name, tails, capsys):
    recipe = load_preset(name).recipe
    size = size_of_random_model(recipe, TAILS[tails])
    lines = [row(name, recipe.quantization.scale, size, tails)]
    if not size.fits:
        fitting = {"quantization.scale": "row_max", "quantization.fit_bytes": True, "quantization.qat": "off"}
        size = size_of_random_model(load_preset(name, fitting).recipe, TAILS[tails])
        lines.append(row(name, "fit_bytes", size, tails))
    with capsys.disabled():
        print("", *lines, sep="\n")
    assert size.fits
