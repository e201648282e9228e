"""The stages of a run, their dependencies, and the fields of the recipe that each one reads.

    train_text ──► train ──► export ──► evaluate      (headline while ttt.mode is off)
        │            │          ├─────► adapt         (headline otherwise)
        └► val_text ─┼──────────┴─────► evaluate, adapt, diagnose
                     └────────────────► diagnose

Preparing the text is two stages, so that training can run where no validation text exists.
A stage's `version` is raised by hand when its arithmetic or the content of its folder changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from trainer.spec.field_index import FIELDS, disabled_keys, values_getter
from trainer.spec.program import Program
from trainer.spec.recipe import Recipe
from trainer.spec.runnable import Runnable

TEXT_STAGES = ("train_text", "val_text")
"""Those that prepare the text, each after the ones that it depends on."""
TOKENIZER_FILE = "tokenizer.model"
"""The SentencePiece model among the training text, and its usual name beside shards."""
ARTIFACT_FILE = "artifact.bin"
"""What an export leaves: the counted bytes of the model."""
CURVE_FILE = "curve.csv"
"""What a training leaves of its losses: a line per step, the names of its columns on top."""


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline: the stages it depends on, its version, and what it leaves in its folder."""

    name: str
    stands_on: tuple[str, ...]
    version: int
    leaves: str


STAGES: Mapping[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage("train_text", (), 1, "tokenizer and training shards"),
        Stage("val_text", ("train_text",), 1, "validation shards and scores of trivial codes"),
        Stage("train", ("train_text",), 1, "weights, averages and the learning curve"),
        Stage("export", ("train",), 1, "the artifact: the counted bytes"),
        Stage("evaluate", ("export", "val_text"), 2, "sliding-window score and per-token nats"),
        Stage("adapt", ("export", "val_text"), 2, "score with test-time training, and the ledger's digest"),
        Stage(
            "diagnose",
            ("train", "export", "val_text"),
            2,
            "scores before and after quantisation, and without a byte limit",
        ),
    )
}


def stages_of(recipe: Runnable) -> list[str]:
    """The stages this recipe or program needs, in the order they run.

    The score without test-time training is always computed; all TTT settings of one artifact share it. An artifact that
    is made to fit is diagnosed, for what that costs.
    """
    if isinstance(recipe, Program):
        return list(recipe.stage_names)
    names = [*TEXT_STAGES, "train", "export", "evaluate"]
    if recipe.ttt.mode != "off":
        names.append("adapt")
    if recipe.evaluation.diagnose or recipe.quantization.fit_bytes:
        names.append("diagnose")
    return names


def possible_stages(recipe: Runnable) -> tuple[str, ...]:
    """Every stage that a configuration of this kind may need, in running order."""
    return recipe.stage_names if isinstance(recipe, Program) else tuple(STAGES)


def curve_stage(recipe: Runnable) -> str:
    """The stage whose folder holds the learning curve."""
    return recipe.curve_stage if isinstance(recipe, Program) else "train"


def artifact_stage(recipe: Runnable) -> str | None:
    """The stage whose result is scored: runs that share it are pairs. None where everything is one stage."""
    return recipe.artifact_stage if isinstance(recipe, Program) else "export"


def headline_stage(recipe: Runnable) -> str:
    """The stage whose score is `val_bpb`; of a program the last one."""
    if isinstance(recipe, Program):
        return recipe.stage_names[-1]
    return "evaluate" if recipe.ttt.mode == "off" else "adapt"


def fields_read(recipe: Recipe, stage: str) -> dict[str, Any]:
    """Fields that can change the result of `stage`, by dotted key.

    Without fields that have no effect, and without neutral fields at their default.
    """
    readable = _readable(stage, _sees_quantization(recipe, stage), _sees_limit(recipe, stage), disabled_keys(recipe))
    values = dict(zip(readable.keys, readable.values_of(recipe), strict=True))
    for key, default in readable.neutral:
        if values[key] == default:
            del values[key]
    return values


@dataclass(frozen=True)
class _Readable:
    """Fields that a stage may read."""

    keys: tuple[str, ...]
    values_of: Callable[[Recipe], tuple[Any, ...]]
    neutral: tuple[tuple[str, Any], ...]
    """Those that count only beside their default, and that default."""


@lru_cache(maxsize=256)
def _readable(stage: str, sees_quantization: bool, sees_limit: bool, disabled: frozenset[str]) -> _Readable:
    """Kept, since a plan of many runs asks for them as often."""
    infos = [
        info
        for key, info in FIELDS.items()
        if key not in disabled
        and (
            stage in info.stages
            or (sees_quantization and key.startswith("quantization."))
            or (sees_limit and key == "budget.artifact_bytes")
        )
    ]
    keys = tuple(info.key for info in infos)
    return _Readable(keys, values_getter(keys), tuple((info.key, info.default) for info in infos if info.neutral))


def _sees_quantization(recipe: Recipe, stage: str) -> bool:
    """Quantisation-aware training applies the export's rules."""
    return stage == "train" and recipe.quantization.qat != "off"


def _sees_limit(recipe: Recipe, stage: str) -> bool:
    """An export that fits its artifact to the limit reads the limit, and so does training that sees its scales."""
    quantization = recipe.quantization
    fitted = quantization.fit_bytes or quantization.prune_to_fit
    return (stage == "export" and fitted) or (_sees_quantization(recipe, stage) and quantization.fit_bytes)


def stages_below(stage: str) -> set[str]:
    """`stage` and all stages that depend on it, directly or not."""
    below = {stage}
    for other in STAGES.values():  # the table is in running order, so one pass is enough
        if below.intersection(other.stands_on):
            below.add(other.name)
    return below


def curve_loss(recipe: Runnable) -> str:
    """What the losses of a learning curve are, in words."""
    return "loss, as the program prints it" if isinstance(recipe, Program) else "training loss (nats per token)"
