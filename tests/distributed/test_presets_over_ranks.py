"""1, 2 and 4 gloo ranks agree on the scores of every preset's nano sibling, given the same artifact."""

from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from tests.fakes import OneByteEach
from trainer.nn.gpt import GPT
from trainer.quant.artifact import decode_artifact, encode_artifact
from trainer.ranks import Ranks
from trainer.scoring.legality import Ledger
from trainer.scoring.sliding import score
from trainer.scoring.ttt import score_first
from trainer.spec.load import load_preset, preset_names
from trainer.spec.recipe import Recipe
from trainer.stages.adapt import make_sgd
from trainer.stages.train import initial_model

pytestmark = [pytest.mark.distributed, pytest.mark.slow]
NAMES = [name for name in preset_names() if name != "tiny"]
QUICK = {"ttt.mode": "score_first", "ttt.lr": 0.05, "ttt.epochs": 1, "ttt.chunk_tokens": 128, "ttt.batch_rows": 4}


def nano(name: str) -> Recipe:
    return load_preset(f"{name}_nano", QUICK).recipe


def artifact_of(recipe: Recipe) -> bytes:
    """A model none of whose weights is zero; rounded to nearest, since what is scored matters, not how well."""
    model, generator = initial_model(recipe, torch.device("cpu")), torch.Generator().manual_seed(1)
    state = {name: w + 0.05 * torch.randn(w.shape, generator=generator) for name, w in model.state_dict().items()}
    quick = recipe.quantization.model_copy(update={"method": "nearest", "compressor": "zstd", "zstd_level": 1})
    return encode_artifact(state, recipe.model, recipe.data.vocab_size, quick)


def scores(ranks: Ranks, folder: Path) -> dict[str, tuple[float, float]]:
    """Plain and adapted bits per byte of each preset's artifact."""
    by_key = {}
    for name in NAMES:
        recipe = nano(name)
        vocab_size = recipe.data.vocab_size
        artifact = decode_artifact((folder / name).read_bytes())
        tokens = torch.arange(400).square() % 23  # a pattern, so that learning shows
        ledgers = [Ledger(tokens, OneByteEach(), vocab_size, ranks) for _ in range(2)]
        model = GPT(artifact.model, vocab_size)
        model.load_state_dict(artifact.state)
        score(ledgers[0], model, recipe.evaluation, ranks)
        score_first(ledgers[1], model, recipe.ttt, recipe.evaluation, make_sgd, ranks)
        by_key[name] = tuple(ledger.close().val_bpb for ledger in ledgers)
    return by_key


def work(rank: int, size: int, folder: str) -> None:
    torch.set_num_threads(1)
    ranks = Ranks.join(torch.device("cpu"), rank, size, Path(folder) / f"meet-{size}")
    by_key = scores(ranks, Path(folder))
    if ranks.is_first:
        torch.save(by_key, Path(folder) / f"scores-{size}.pt")
    ranks.leave()


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory) -> dict[int, dict[str, tuple[float, float]]]:
    folder = tmp_path_factory.mktemp("ranks")
    for name in NAMES:
        (folder / name).write_bytes(artifact_of(nano(name)))
    by_key = {1: scores(Ranks(), folder)}
    for size in (2, 4):
        mp.spawn(work, args=(size, str(folder)), nprocs=size)
        by_key[size] = torch.load(folder / f"scores-{size}.pt")
    return by_key


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("name", NAMES)
def test_ranks_agree_on_plain_and_adapted_scores(of_ranks, name, size):
    assert of_ranks[size][name] == pytest.approx(of_ranks[1][name], abs=1e-5)
    plain, adapted = of_ranks[1][name]
    assert abs(plain - adapted) > 1e-3
