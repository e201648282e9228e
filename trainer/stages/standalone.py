"""One recipe from raw shards to a scored artifact, without store, sweep or Ray: what a submission's script runs.

`results.submission.flatten` makes one self-contained file of this module and of all that it needs, so the script of a
submission is the code of the stages. Budgets are limits here: a run over one of them ends with the amount, in status 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from trainer.ranks import Ranks
from trainer.spec.budget import check_artifact_bytes, check_eval_s, check_train_s
from trainer.spec.errors import UserError
from trainer.spec.messages import Progress
from trainer.spec.recipe import Recipe
from trainer.spec.record import Metric
from trainer.spec.stage_table import ARTIFACT_FILE, TOKENIZER_FILE
from trainer.stages.adapt import adapt
from trainer.stages.context import RunContext
from trainer.stages.cpu import prepare_cpu
from trainer.stages.evaluate import evaluate
from trainer.stages.export import export
from trainer.stages.train import initial_model, run_steps, save_training, started

SCORES = {"off": evaluate, "score_first": adapt, "pre_eval": adapt}
"""The stage behind the headline, by `ttt.mode`."""


@dataclass
class Standalone(RunContext):
    """The context of a run that finds shards in one folder and leaves its files in another."""

    recipe: Recipe
    data: Path
    """Folder of `fineweb_train_*.bin` and `fineweb_val_*.bin`."""
    model: Path
    """The SentencePiece model of the shards."""
    out: Path
    ranks: Ranks
    scored: Path | None = None
    """An artifact to score in place of the run's own."""
    run_id: str = "standalone"
    report: Callable[[Progress], None] = lambda progress: print_progress(progress)
    stopping: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.monotonic
    compiler: str = "inductor"
    known: dict[str, Mapping[str, Metric]] = field(default_factory=dict)

    def folder(self, stage: str) -> Path:
        """Where all stages leave their files."""
        return self.out

    def text_folder(self, stage: str) -> Path:
        """The folder with both splits."""
        return self.data

    def metrics(self, stage: str) -> Mapping[str, Metric]:
        """Numbers of a stage that has run."""
        return self.known.get(stage, {})

    @property
    def tokenizer(self) -> Path:
        """The SentencePiece model of the shards."""
        return self.model

    def artifact(self, file: str) -> Path:
        """The artifact that is scored."""
        return self.scored or self.out / file


def print_progress(progress: Progress) -> None:
    """One line on stdout."""
    print(f"{progress.stage} {progress.fraction:.0%} {progress.detail}".rstrip(), flush=True)


def main(recipe: Recipe, script: Path, arguments: Sequence[str] | None = None) -> int:
    """The command line of a submission; returns the exit status.

    script:  the file whose bytes count as code
    """
    asked = _parser().parse_args(arguments)
    ranks = Ranks.launched()
    torch.manual_seed(0)
    if ranks.device.type == "cpu":
        prepare_cpu()
    try:
        rows = _scored(recipe, asked, ranks) if asked.evaluate else [_trained(recipe, script, asked, ranks)]
    except UserError as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 1
    if ranks.is_first:
        for row in rows:
            print(" ".join(f"{name}:{value}" for name, value in row.items()))
        if asked.json:
            asked.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    ranks.leave()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Trains, exports and scores; with --evaluate only scores artifacts.")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the shards of both splits")
    parser.add_argument(
        "--tokenizer", type=Path, help=f"SentencePiece model; default: {TOKENIZER_FILE} beside the shards"
    )
    parser.add_argument("--seed", type=int, nargs="+", help="seed of the run, or of each artifact")
    parser.add_argument("--evaluate", type=Path, nargs="+", metavar="ARTIFACT", help="score these, train nothing")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for weights, artifact and curve")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    return parser


def _context(recipe: Recipe, asked: argparse.Namespace, ranks: Ranks, scored: Path | None = None) -> Standalone:
    return Standalone(recipe, asked.data, asked.tokenizer or asked.data / TOKENIZER_FILE, asked.out, ranks, scored)


def _scored(recipe: Recipe, asked: argparse.Namespace, ranks: Ranks) -> list[dict[str, Metric]]:
    """The scores of artifacts that are there, each with its seed."""
    seeds = asked.seed or [recipe.seed] * len(asked.evaluate)
    if len(seeds) != len(asked.evaluate):
        raise UserError(f"--seed names {len(seeds)} seeds for {len(asked.evaluate)} artifacts; give one for each")
    rows: list[dict[str, Metric]] = []
    for seed, artifact in zip(seeds, asked.evaluate, strict=True):
        if not artifact.is_file():
            raise UserError(f"--evaluate {artifact} is no file; expected an artifact")
        context = _context(recipe.model_copy(update={"seed": seed}), asked, ranks, artifact)
        row: dict[str, Metric] = {"seed": seed, "artifact_bytes": artifact.stat().st_size}
        rows.append(row | _headline(context))
    return rows


def _trained(recipe: Recipe, script: Path, asked: argparse.Namespace, ranks: Ranks) -> dict[str, Metric]:
    """Trains, exports, checks bytes and seconds, then scores."""
    seed = recipe.seed if asked.seed is None else asked.seed[0]
    context = _context(recipe.model_copy(update={"seed": seed}), asked, ranks)
    context.out.mkdir(parents=True, exist_ok=True)
    training = started(context, initial_model(context.recipe, ranks.device))
    context.known["train"] = trained = run_steps(context, training)
    if ranks.is_first:
        save_training(training, context.out)
    ranks.barrier()
    context.known["export"] = exported = export(context, context.out)
    model_bytes, code_bytes = context.artifact(ARTIFACT_FILE).stat().st_size, len(script.read_bytes())
    check_artifact_bytes(model_bytes, recipe.budget, code_bytes)
    check_train_s(float(trained["train_s"] or 0), float(exported.get("calibration_s") or 0), recipe.budget)
    row: dict[str, Metric] = {
        "seed": seed,
        "steps": trained["steps"],
        "train_s": trained["train_s"],
        "artifact_bytes": model_bytes,
    }
    return row | {"code_bytes": code_bytes, "total_bytes": model_bytes + code_bytes} | _headline(context)


def _headline(context: Standalone) -> dict[str, Metric]:
    """The score, and the ledger's digest."""
    metrics = SCORES[context.recipe.ttt.mode](context, None)
    check_eval_s(float(metrics["eval_s"] or 0), context.recipe.budget)
    return {
        name: metrics[name] for name in ("val_loss", "val_bpb", "num_tokens", "num_bytes", "eval_s", "ledger_digest")
    }
