"""The winner of a sweep to take home: its recipe as a preset file (of a program its command as a shell script), its
artifact, its scores, and what was shown."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.text import Text

from orchestrator.analysis.comparison import verdicts_of
from orchestrator.analysis.named_configuration import BEST, named_configuration
from orchestrator.analysis.sweep_table import baseline_of, best_row_of, ranking_of, rows_of, table_of
from orchestrator.output import say
from orchestrator.space.configuration import Configuration, label
from orchestrator.sweep.sweep import Sweep
from results.rows.layout import recipe_file
from results.rows.ranking import unit_of
from results.rows.score_text import score_text
from results.rows.tables import breaches_of, why_none_is_ranked
from results.verdicts.verdict import Verdict
from trainer.program.stage import left_by
from trainer.program.take_home import changed_code, shell_script
from trainer.spec.errors import UserError
from trainer.spec.program import Program
from trainer.spec.recipe import Recipe
from trainer.spec.recipe_text import difference, differing_recipes, recipe_text
from trainer.spec.stage_table import ARTIFACT_FILE
from trainer.spec.units import human_bytes
from trainer.store.mirror import store_option
from trainer.store.shared import stage_store

STYLES = {"better": "bold green", "suggested": "green", "not shown": "bold yellow", "infeasible": "bold red"}
SHOWN_SENTENCES = {
    "better": "shown: better than the baseline",
    "suggested": "suggested, not shown: confirm it on fresh seeds",
    "not shown": "not shown: the sweep does not show it to be better than the baseline",
    "infeasible": "infeasible: it breaks a limit, whatever its score",
    "cannot say": "cannot say whether it is better than the baseline",
}


@dataclass(frozen=True, repr=False)
class Best:
    """One configuration of a sweep, with everything needed to use it elsewhere."""

    sweep: Sweep
    configuration: Configuration
    line: Mapping[str, Any]
    """Its line of the table per configuration."""
    verdict: Verdict | None
    """None for the baseline."""
    seed: int
    """Of its finished runs the best one's, whose artifact is named."""
    fingerprint: str | None
    """Of the stage that left that artifact; None where a program has one stage."""
    model_bytes: int | None

    def __repr__(self) -> str:
        name = label(self.configuration, self.sweep.space)
        return f"best of sweep {self.sweep.name}: {name} ({self.configuration.id}), {self.sentence}"

    @property
    def recipe(self) -> Recipe | Program:
        """With the seed of that run, so that running it finds its stages in the store."""
        return self.sweep.space.recipe(self.configuration.values, self.seed)

    @property
    def baseline(self) -> Recipe | Program:
        """What the sweep compared it with."""
        return self.sweep.space.recipe(self.sweep.asked()[0].values, self.seed)

    @property
    def changes(self) -> dict[str, tuple[Any, Any]]:
        """Keys in which it differs from the baseline, with its value and the baseline's."""
        mine, theirs = self.recipe, self.baseline
        if isinstance(mine, Recipe) and isinstance(theirs, Recipe):
            return difference(mine, theirs)
        return differing_recipes(mine.model_dump(mode="json"), theirs.model_dump(mode="json"))

    @property
    def run_id(self) -> str:
        """Of that run."""
        return self.configuration.run_id(self.seed)

    @property
    def artifact(self) -> Path | None:
        """The counted bytes; of a program the first file that the stage before its last left, if any did."""
        program = self.sweep.space.program
        if self.fingerprint is None:
            return None
        store = stage_store(self.sweep.store)
        if program is None:
            return store.folder("export", self.fingerprint) / ARTIFACT_FILE
        return next(iter(left_by(program, program.stage_names[-2], store, self.fingerprint).values()), None)

    @property
    def word(self) -> str:
        """What the verdict says of it, in a word or two."""
        return "baseline" if self.verdict is None else self.verdict.word

    @property
    def sentence(self) -> str:
        """Whether the verdict supports it."""
        return "the baseline itself" if self.verdict is None else SHOWN_SENTENCES[self.verdict.word]

    def command(self, file: Path) -> str:
        """What runs it again; in this store its stages are found, in another one they are computed."""
        if self.sweep.space.program is not None:
            return f"sh {shlex.quote(str(file))}"
        return f"python -m trainer run {shlex.quote(str(file))}{store_option(self.sweep.store)}"

    def text(self) -> str:
        """The recipe as a preset file; of a program the shell script that runs it with these knobs, without us."""
        name = label(self.configuration, self.sweep.space)
        source = f"orchestrator best {self.sweep.name} --config {self.configuration.id}"
        words = f"{name}, of sweep {self.sweep.name}: {self.sentence}"
        recipe, baseline = self.recipe, self.baseline
        if isinstance(recipe, Program):
            ranks = self.sweep.records()[self.run_id].num_ranks
            changed = [f"changed since the sweep ran it: {path}" for path in changed_code(recipe)]
            return shell_script(recipe, ranks, [words, f"{source}; seed {self.seed}, its best", *changed])
        assert isinstance(baseline, Recipe), "a sweep runs one kind"
        return recipe_text(recipe, words, source, None if self.verdict is None else baseline)


def best_of(sweep: Sweep, config: str | None = None) -> Best:
    """The best ranked configuration beside the baseline, or the one that is named.

    Raises UserError when there is none, or the named one has no finished run.
    """
    frame = rows_of(sweep)
    table = table_of(sweep, frame)
    baseline = baseline_of(sweep)
    chosen = _winner(sweep, frame, table) if config in (None, BEST) else config
    configuration = named_configuration(sweep, chosen, "--config ")
    chosen = configuration.id
    run = best_row_of(sweep, frame, chosen)
    if run is None:
        raise UserError(f"{chosen} of sweep '{sweep.name}' has no finished run yet; see: {sweep.command('status')}")
    verdict = next((one for one in verdicts_of(sweep, frame) if one.config == chosen), None)
    return Best(
        sweep=sweep,
        configuration=configuration,
        line={str(name): cell for name, cell in table[table["config"] == chosen].iloc[0].items()},
        verdict=None if chosen == baseline else verdict,
        seed=int(run["seed"]),
        fingerprint=None if pd.isna(run["artifact"]) else str(run["artifact"]),
        model_bytes=None if pd.isna(run["model_bytes"]) else int(run["model_bytes"]),
    )


def _winner(sweep: Sweep, frame: pd.DataFrame, table: pd.DataFrame) -> str:
    ranked = table[table["rank"].notna() & ~table["is_baseline"]]
    if ranked.empty:
        why = why_none_is_ranked(table, breaches_of(frame, ranking_of(sweep)))
        raise UserError(f"sweep '{sweep.name}' has no winner yet: {why}; see: {sweep.command('status')}")
    return str(ranked.iloc[0]["config"])


def write_recipe(best: Best, out: Path | None) -> Path:
    """The preset file or the script, by default in the sweep's folder."""
    path = out or best.sweep.folder / recipe_file(best.configuration.id, best.sweep.space.program is not None)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(best.text(), encoding="utf-8")
    return path


def best_row(best: Best, file: Path | None) -> dict[str, Any]:
    """One flat row, for programs; without a file where it could not be written."""
    line, bpb = best.line, best.verdict.bpb if best.verdict else None
    return {
        "config": best.configuration.id,
        "verdict": best.word,
        "sentence": best.verdict.sentence if best.verdict else best.sentence,
        **{name: _number(line[name]) for name in ("n", "mean", "sd", "ci95_low", "ci95_high")},
        "gain_bpb": None if bpb is None else -bpb.difference,
        "gain_low_bpb": None if bpb is None else -bpb.high,
        "gain_high_bpb": None if bpb is None else -bpb.low,
        "seed": best.seed,
        "recipe": None if file is None else str(file),
        "artifact": str(best.artifact) if best.artifact and best.artifact.exists() else None,
        "model_bytes": best.model_bytes,
        "changes": {key: mine for key, (mine, _) in best.changes.items()},
        "command": None if file is None else best.command(file),
    }


def _number(cell: Any) -> Any:
    return None if pd.isna(cell) else cell.item() if hasattr(cell, "item") else cell


def print_best(best: Best, file: Path | None, console: Console) -> None:
    """The verdict first, then scores, what differs from the baseline, the artifact, and what to type next.

    file:  None where it could not be written: then its text is printed
    """
    name = label(best.configuration, best.sweep.space)
    console.print(Text(f"{name}  ({best.configuration.id})", style="bold"))
    style = STYLES.get(best.word, "")
    say(console, best.sentence, style, indent=0)
    for line in _score_lines(best):
        say(console, line)
    changes, script = best.changes, best.sweep.space.program is not None
    console.print("differs from the baseline in:" if changes else "differs from the baseline in nothing")
    for key, (mine, theirs) in changes.items():
        for sign, value, colour in (("-", theirs, "red"), ("+", mine, "green")):
            console.print(Text(f"  {sign} {key} = {best.sweep.space.value_text(value)}", style=colour))
    if best.artifact is not None:
        where = best.artifact if best.artifact.exists() else f"{best.artifact}, which has left the store"
        size = "" if best.model_bytes is None else f", {best.model_bytes:,} bytes ({human_bytes(best.model_bytes)})"
        say(console, f"artifact of seed {best.seed}, its best{size}:", indent=0)
        console.print(f"  {where}", soft_wrap=True)
    what = f"the program with its knobs and seed {best.seed}, a script" if script else "recipe, a preset again"
    if file is None:
        console.print(f"{what}; its file could not be written:")
        console.print(Text(best.text()), soft_wrap=True)
        return
    console.print(f"{what}:\n  {file}", soft_wrap=True)
    console.print(f"run it:\n  {best.command(file)}", soft_wrap=True)


def _score_lines(best: Best) -> list[str]:
    line, metric = best.line, best.sweep.space.metric.name
    unit = unit_of(metric)
    named = unit or metric
    mean, low, high = (_number(line[name]) for name in ("mean", "ci95_low", "ci95_high"))
    if mean is None:
        return [f"{metric}: no mean, since it has {line['n']} finished seeds and needs more"]
    interval = "" if low is None else f", 95 % interval {score_text(low, named)} to {score_text(high, named)}"
    if line["sd"] == 0.0:
        interval = ", which all gave the same score"
    lines = [f"{metric} {score_text(mean, named)}{f' {unit}' if unit else ''}: mean of {line['n']} seeds{interval}"]
    if best.verdict is not None:
        lines.append(_named(best))
    return lines


def _named(best: Best) -> str:
    """The verdict in full, with labels in place of identities."""
    sentence = best.verdict.sentence if best.verdict else ""
    for item in best.sweep.asked():
        words = label(item, best.sweep.space).replace("\\", r"\\")
        sentence = re.sub(rf"(?<!--config ){item.id}", words, sentence)  # commands keep the id
    return sentence
