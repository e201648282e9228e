"""Codes of +-1 pruned until the artifact fits: the least of them, those of least error, the same every time."""

import pytest
import torch

from trainer.quant.artifact import decode_artifact, encode_artifact
from trainer.quant.gptq import Hessian
from trainer.quant.packing import pack
from trainer.quant.prune import MOST_ENCODINGS, Pruned, encode_pruned_to_fit
from trainer.spec.errors import RecipeError
from trainer.spec.load import load_preset
from trainer.spec.recipe import Model, Quantization
from trainer.spec.stage_table import fields_read

QUICK = Quantization(min_elements=1000, zstd_level=3, scale="sdclip", clip_stds=12.0, gates="int8")
NAME = "blocks.0.mlp.fc.weight"


def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {f"blocks.{layer}.mlp.fc.weight": (96, 128) for layer in range(4)} | {"skip_weights": (2, 64)}
    return {name: 0.05 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def pruned(limit: int, **changes) -> Pruned:
    quantization = QUICK.model_copy(update=changes)
    hessians = (
        {name: Hessian(torch.eye(128)) for name in weights() if "mlp" in name}
        if changes.get("method") == "gptq"
        else None
    )
    return encode_pruned_to_fit(weights(), Model(), 1024, quantization, limit, hessians)


@pytest.mark.parametrize("share", [0.98, 0.95, 0.91])
@pytest.mark.parametrize("changes", [{}, {"method": "gptq"}, {"compressor": "zlib"}], ids=str)
def test_an_artifact_is_pruned_until_it_fits_with_little_to_spare(changes, share):
    whole = pruned(10**9, **changes)
    limit = int(len(whole.artifact) * share)
    found = pruned(limit, **changes)
    assert limit * 0.99 < len(found.artifact) <= limit
    assert 0 < found.share < 1
    assert found.encodings <= MOST_ENCODINGS
    assert pruned(limit, **changes) == found


def test_an_artifact_that_fits_is_not_pruned():
    plain = encode_artifact(weights(), Model(), 1024, QUICK)
    assert pruned(len(plain)) == Pruned(plain, 0.0, 1, len(plain))


def test_a_limit_that_nothing_meets_leaves_no_code_of_one():
    found = pruned(100)
    assert found.share == 1
    state = decode_artifact(found.artifact).state
    step = pack(weights(), QUICK)[NAME + ".row_scale"].float()
    magnitudes = (state[NAME] / step[:, None]).abs().round()
    assert not (magnitudes == 1).any()
    assert (magnitudes > 1).any()


def test_the_pruned_codes_are_those_whose_weights_change_least():
    whole = pack(weights(), QUICK)
    limit = int(len(encode_artifact(weights(), Model(), 1024, QUICK)) * 0.95)
    state = decode_artifact(pruned(limit).artifact).state
    gone, kept = [], []
    for name in weights():
        if name == "skip_weights":
            assert torch.equal(state[name], decode_artifact(pruned(10**9).artifact).state[name])
            continue
        before = whole[name].float() * whole[name + ".row_scale"].float()[:, None]
        gain = weights()[name].square() - (weights()[name] - before).square()
        ones = whole[name].abs() == 1
        gone.append(gain[ones & (state[name] == 0)])
        kept.append(gain[ones & (state[name] != 0)])
        assert torch.equal(state[name][~ones], before[~ones])
    assert 0 < torch.cat(gone).max() <= torch.cat(kept).min()


def test_pruning_is_refused_beside_what_it_contradicts_and_reads_the_limit():
    with pytest.raises(RecipeError, match="choose one"):
        load_preset("tiny", {"quantization.prune_to_fit": True, "quantization.fit_bytes": True})
    with pytest.raises(RecipeError, match="cannot show training what prune_to_fit"):
        load_preset("tiny", {"quantization.prune_to_fit": True, "quantization.qat": "always"})
    recipe = load_preset("tiny", {"quantization.prune_to_fit": True}).recipe
    assert fields_read(recipe, "export")["budget.artifact_bytes"] == 16_000_000
