"""`orchestrator package`: what a configuration's runs left in sweep and store, checked and handed to the writer.

Every seed of the configuration must have finished, legally and within its budgets, with its artifact in the store.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from orchestrator.analysis.comparison import evidence_of, is_foreign, reference_of
from orchestrator.analysis.named_configuration import BEST, named_configuration
from orchestrator.analysis.sweep_table import baseline_of, rows_of, table_of
from orchestrator.space.configuration import Configuration, label
from orchestrator.sweep.sweep import Sweep
from results.rows.tables import is_finished, per_run
from results.submission.acceptance_claim import acceptance_claim
from results.submission.manifest import AcceptanceClaim, IncumbentScore, SeedResult, Submission
from results.submission.package_folder import About, Code, PackagedRun, ScoredText, result_of, write_package
from results.submission.texts import read_curve
from results.verdicts.policies import policy_of
from trainer.data.shard_files import present_shards
from trainer.scoring.ledger_summary import LEDGER_FILE
from trainer.spec.errors import UserError
from trainer.spec.recipe import Recipe
from trainer.spec.record import Record
from trainer.spec.stage_table import ARTIFACT_FILE, CURVE_FILE, TEXT_STAGES, TOKENIZER_FILE
from trainer.store.local import StageStore
from trainer.store.shared import stage_store


@dataclass(frozen=True)
class PackageTerms:
    """What the command line says."""

    policy: str
    against: str | None = None
    """As `compare --baseline` takes it; None: the sweep's baseline."""
    code: Code = "auto"
    name: str = ""
    author: str = ""
    github_id: str = ""
    blurb: str = ""
    track: str = ""


def package_configuration(sweep: Sweep, config: str, out: Path, terms: PackageTerms) -> Submission:
    """Writes the folder of one configuration. Raises UserError with all reasons why it cannot be packaged."""
    policy_of(terms.policy)
    if sweep.space.program is not None:
        raise UserError(f"sweep '{sweep.name}' runs {sweep.preset}; only runs of our own trainer can be packaged")
    item = _configuration(sweep, config)
    records = _records(sweep, item)
    recipe = Recipe.model_validate(dict(records[0].recipe))
    store = stage_store(sweep.store)
    runs = [_run(store, record) for record in records]
    about = _about(sweep, item, records, terms)
    return write_package(
        out, recipe, runs, _text(store, records[0], recipe), about, _claim(sweep, item, runs, terms), terms.code
    )


def _configuration(sweep: Sweep, config: str) -> Configuration:
    if config == BEST:
        table = table_of(sweep, rows_of(sweep))
        ranked = table[table["rank"].notna()]
        if ranked.empty:
            raise UserError(
                f"sweep '{sweep.name}' has no configuration that may be ranked; see {sweep.command('table')}"
            )
        config = str(ranked.iloc[0]["config"])
    return named_configuration(sweep, config)


def _records(sweep: Sweep, item: Configuration) -> list[Record]:
    """The record of every seed that the configuration needs, in the order of the search space."""
    found: list[Record] = []
    problems: list[str] = []
    for seed in sweep.state().seeds_of(item):
        record = sweep.record(item.run_id(seed))
        if record is None:
            problems.append(f"seed {seed} has not finished: {sweep.command('resume')}")
        elif problem := next(_problems(record), ""):
            problems.append(f"seed {seed} {problem}")
        else:
            found.append(record)
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise UserError(f"configuration {item.id} of sweep '{sweep.name}' cannot be packaged\n{listed}")
    return found


def _problems(record: Record) -> Iterator[str]:
    if record.status != "done":
        yield f"is {record.status}: {record.error}"
    if record.within_budget is not True:
        yield "is not known to be within its budget"
    if record.metric(record.headline, "legal") is not True:
        yield "was scored by an evaluation that is not legal"
    if not isinstance(record.metric(record.headline, "ledger_digest"), str):
        yield "has no ledger digest: its evaluation was not recorded"


def _run(store: StageStore, record: Record) -> PackagedRun:
    """The numbers of a run, with the bytes it left, whose checksums are verified."""
    exported, trained = record.stages["export"], record.stages["train"]
    for outcome in (exported, trained):
        if store.find_intact(outcome.stage, outcome.fingerprint) is None:
            raise UserError(
                f"run {record.run_id}: the store has no intact {outcome.stage}/{outcome.fingerprint}; it was removed, "
                "or is in another store: name it by --store, or run the sweep again"
            )
    artifact = (store.folder("export", exported.fingerprint) / ARTIFACT_FILE).read_bytes()
    curve = (store.folder("train", trained.fingerprint) / CURVE_FILE).read_text(encoding="utf-8")
    score = record.stages[record.headline].metrics
    return PackagedRun(
        seed=record.seed,
        val_loss=float(score["val_loss"] or 0),
        val_bpb=float(score["val_bpb"] or 0),
        steps=int(trained.metrics["steps"] or 0),
        train_s=float(trained.metrics["train_s"] or 0),
        calibration_s=float(exported.metrics.get("calibration_s") or 0),
        eval_s=float(score["eval_s"] or 0),
        ledger_digest=str(score["ledger_digest"]),
        ledger=store.read_file(record.headline, record.stages[record.headline].fingerprint, LEDGER_FILE),
        artifact=artifact,
        curve=read_curve(curve),
    )


def _text(store: StageStore, record: Record, recipe: Recipe) -> ScoredText:
    """The validation text behind the scores, as the stages have it."""
    outcomes = {stage: record.stages[stage] for stage in TEXT_STAGES}
    for stage, outcome in outcomes.items():
        if store.find_intact(stage, outcome.fingerprint) is None:
            raise UserError(f"the store has no intact {stage}/{outcome.fingerprint}, the text of these runs")
    folder = store.folder("val_text", outcomes["val_text"].fingerprint)
    if recipe.data.source == "shards":
        folder = Path(recipe.data.folder)
    score = record.stages[record.headline].metrics
    documents = outcomes["val_text"].metrics.get("num_documents")
    return ScoredText(
        tokens=int(score["num_tokens"] or 0),
        num_bytes=int(score["num_bytes"] or 0),
        documents=None if documents is None else int(documents),
        shards=present_shards(folder, "val"),
        tokenizer=(store.folder("train_text", outcomes["train_text"].fingerprint) / TOKENIZER_FILE).read_bytes(),
    )


def _about(sweep: Sweep, item: Configuration, records: list[Record], terms: PackageTerms) -> About:
    first = records[0]
    headline: Literal["evaluate", "adapt"] = "adapt" if first.headline == "adapt" else "evaluate"
    what = label(item, sweep.space)
    return About(
        sweep=sweep.name,
        config=item.id,
        label=what,
        preset=sweep.preset,
        commit=first.commit,
        hardware="; ".join(dict.fromkeys(f"{one.hardware}, {one.num_ranks} ranks" for one in records)),
        versions="; ".join(dict.fromkeys(one.versions for one in records)),
        headline=headline,
        name=terms.name or f"{sweep.name} {what}",
        author=terms.author,
        github_id=terms.github_id,
        blurb=terms.blurb or sweep.space.description,
        date=max(one.started_at for one in records)[:10],
        track=terms.track,
    )


def _claim(sweep: Sweep, item: Configuration, runs: list[PackagedRun], terms: PackageTerms) -> AcceptanceClaim:
    """What the policy says against the baseline of the sweep, or against what `against` names."""
    results: dict[str, SeedResult] = {str(run.seed): result_of(run, 0) for run in runs}
    baseline = terms.against or baseline_of(sweep)
    if baseline == item.id:
        return acceptance_claim(terms.policy, results, "", ())
    frame = rows_of(sweep)
    reference = reference_of(sweep, baseline, sweep.store)
    assert not isinstance(reference, float)
    rows = per_run(frame[frame["config"] == reference] if isinstance(reference, str) else reference)
    name = str(rows["config"].iloc[0]) if len(rows) else str(reference)
    objections = evidence_of(sweep, frame).objections
    objection = objections.get(item.id) or objections.get(name) or _unfinished(rows, name)
    if is_foreign(sweep, terms.against):
        objection = objection or "these runs were scored on another text than the record's"
    shown = f"baseline {name}" if terms.against is None else name
    return acceptance_claim(terms.policy, results, shown, _scores(rows), objection)


def _unfinished(rows: pd.DataFrame, name: str) -> str:
    return "" if len(rows) and is_finished(rows).all() else f"{name} has not finished all its runs"


def _scores(rows: pd.DataFrame) -> tuple[IncumbentScore, ...]:
    finished = rows[is_finished(rows)]
    return tuple(
        IncumbentScore(seed=int(seed), val_bpb=float(bpb), val_loss=None if pd.isna(loss) else float(loss))
        for seed, bpb, loss in zip(finished["seed"], finished["val_bpb"], finished["val_loss"], strict=True)
    )
