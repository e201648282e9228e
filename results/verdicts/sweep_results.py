"""Everything that a report or notebook shows of one sweep: terms, rows, verdicts, and what the runs cost.

One frozen value, so that report and notebook agree; `orchestrator.analysis.load_results` fills it from a folder.
Published records of the challenge can stand in for a sweep of one's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import pandas as pd

from results.rows import machines
from results.rows.ranking import Breach, Measure, Ranking
from results.rows.read import OUTCOME_COLUMNS, frame_of
from results.rows.row import Row, unfinished_row
from results.rows.tables import breaches_of, per_configuration, why_none_is_ranked
from results.verdicts.attempts import Attempt
from results.verdicts.compare import compare
from results.verdicts.faster import Faster
from results.verdicts.policies import Acceptance, acceptance_of_records, policy_of
from results.verdicts.published_records import incumbents, merged_records
from results.verdicts.seed_ledger import SeedOutcome
from results.verdicts.terms import Terms
from results.verdicts.verdict import Verdict

RECORDS_DESCRIPTION = (
    "Which published records of the challenge are better than the best one before, by more than chance?"
)
RULES = ("pg-written", "pg-frontier-p25")
"""The challenge's rule as it is written, and as its later rows were judged."""


@dataclass(frozen=True)
class SweepResults:
    """The results of one sweep."""

    name: str
    description: str
    frame: pd.DataFrame
    """One row per run, as `read_rows` gives it."""
    ranking: Ranking
    """How its configurations are ranked, and against which baseline."""
    verdicts: Sequence[Verdict]
    compared: Measure = field(default=Measure(), kw_only=True)
    """The number that the verdicts are about."""
    declared: bool = field(default=True, kw_only=True)
    """Whether seeds and terms were fixed before the runs; not so for runs that were imported or published."""
    faster: Sequence[Faster] = field(default=(), kw_only=True)
    """What can be said of seconds or steps, where that was asked."""
    labels: Mapping[str, str]
    """The label of each configuration, the baseline included."""
    seed_outcomes: Sequence[SeedOutcome] = ()
    """What became of every seed ever declared for these configurations, in any sweep of the store."""
    attempts: Sequence[Attempt] = ()
    """All attempts at what the sweep tests, its own among them; empty where it claims nothing."""
    acceptances: Sequence[Acceptance] = ()
    """What acceptance rules say of them, where a rule was applied."""
    swept_keys: Sequence[str] = ()
    terms: Mapping[str, str] = field(default_factory=dict)
    """The search space in words, by heading."""
    total_runs: int | None = None
    adaptive: bool = False
    """Whether the choice of configurations depended on results."""
    outcomes: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(OUTCOME_COLUMNS)))
    """One row per run and stage, as `read_outcomes` gives it."""
    planned: Sequence[Mapping[str, Any]] | None = None
    """The plan as rows, made before the first run; None when none was kept."""
    wall_s: float | None = None
    """Seconds that drivers worked on the sweep, all drivers together."""
    machines: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(machines.COLUMNS)))
    """One row per machine, as `read_machines` gives it."""
    by_the_clock: bool = False
    """Whether training ends by the clock, so that results depend on the hardware."""
    curve_stage: str = "train"
    """The stage whose folder holds a learning curve."""
    curve_loss: str = "training loss (nats per token)"
    """What its losses are; of a program nobody knows more than that it prints them."""
    curve_of: Callable[[str], bytes | None] = lambda fingerprint: None
    """The learning curve of a training by its fingerprint, as CSV; None where it is gone."""
    example: Mapping[str, Any] | None = None
    """The record of one run of the best configuration, or of any that ended."""
    headline: str = ""
    """The answer in a sentence, as the end of the sweep prints it; empty where runs were made elsewhere."""
    next_command: str = ""
    """What is worth running next; empty if nothing is known to be."""
    next_because: str = ""
    """What it costs, and with which chance it decides something."""
    commands: Sequence[str] = ()
    """Commands that repeat the sweep."""
    space_text: str = ""
    """The text of the search space file."""

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row per configuration, ranked."""
        return per_configuration(self.frame, self.ranking)

    @cached_property
    def breaches(self) -> Mapping[str, Sequence[Breach]]:
        """Why configurations may not be ranked, by configuration."""
        return breaches_of(self.frame, self.ranking)

    @property
    def baseline(self) -> str:
        """The configuration that others are compared with."""
        return self.ranking.baseline

    @property
    def seeds(self) -> Sequence[int] | None:
        """The declared seeds; None when nothing was declared."""
        return self.ranking.seeds

    @property
    def best(self) -> str | None:
        """The best ranked configuration beside the baseline; None while none is ranked: `why_none_is_best` says why."""
        ranked = self.table[self.table["rank"].notna() & ~self.table["is_baseline"]]
        return None if ranked.empty else str(ranked.iloc[0]["config"])

    @property
    def why_none_is_best(self) -> str:
        """Which limits all of them break, or that none is complete; empty where there is a best one."""
        return why_none_is_ranked(self.table, self.breaches)

    def with_example(self, record: Mapping[str, Any] | None) -> SweepResults:
        """The same, with the record of a run that shows what was done; which one depends on the ranking."""
        return replace(self, example=record)

    def verdict_of(self, config: str | None) -> Verdict | None:
        """What can be said about one configuration; None for the baseline or an unknown one."""
        return next((verdict for verdict in self.verdicts if verdict.config == config), None)

    def label(self, config: str) -> str:
        """The label of a configuration."""
        return self.labels.get(config, config)


def published_results() -> SweepResults:
    """The merged records of the challenge, each against its incumbent, in bits per byte and without a margin.

    No seeds were declared, so each record stands with those it published; a seed that was run twice counts once.
    """
    arms = {name: rows.assign(sweep="records", within_budget=True) for name, rows in merged_records().items()}
    names = list(arms)
    terms = Terms(correction="none")
    pairs = [(name, before) for name, before in incumbents().items() if before is not None]
    verdicts = [compare(arms[name], arms[before], terms)[0] for name, before in pairs]
    return SweepResults(
        name="published records",
        description=RECORDS_DESCRIPTION,
        frame=_full_rows(pd.concat(arms.values(), ignore_index=True)),
        ranking=Ranking(baseline=names[0], own_seeds=True),
        declared=False,
        verdicts=verdicts,
        labels={name: name.partition("_")[2] or name for name in names},
        acceptances=[answer for rule in RULES for answer in acceptance_of_records(policy_of(rule))],
    )


def _full_rows(scores: pd.DataFrame) -> pd.DataFrame:
    """Rows with every column; what was not published is empty."""
    rows = [unfinished_row("records", "", 0, "done", {}) | row for row in cast("list[Row]", scores.to_dict("records"))]
    return frame_of(rows, [], list(scores["config"].drop_duplicates()))
