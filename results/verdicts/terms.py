"""Inputs of a comparison apart from the scores: the terms of the test, and the evidence on the seeds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from results.rows.ranking import Breach
from results.stats.many_against_one import Correction
from results.stats.t_tests import Variance
from results.verdicts.verdict import CHOSEN_ON_THESE_SEEDS, OUTCOMES_KNOWN, Unit

Blocks = Literal["artifact", "seed", "none"]
"""'artifact': runs that scored one trained artifact are pairs; 'seed': these, else runs of one seed."""


@dataclass(frozen=True)
class Terms:
    """Which gain counts, how small its p-value must be, and how it is tested."""

    margin: float = 0.0
    """Least gain that counts, in `unit`."""
    unit: Unit = "bpb"
    """Unit of the margin, in which the test is made: nats per token, or bits per byte."""
    alpha: float = 0.01
    """Largest p-value, after correction, that counts as shown."""
    correction: Correction = "dunnett"
    """How p-values are corrected over all configurations of the sweep: `dunnett` where one variance was declared and
    holds for all of them, elsewhere Holm's way; `holm` throughout, as in 0.1.0; or not at all."""
    exact_baseline: bool = False
    """Test against the baseline's mean as if it were exact (the challenge's rule), which is weaker evidence."""
    variance: Variance = "own"
    """Whose spread a configuration is judged by: its own, or one that all of the sweep share."""
    blocks: Blocks = "artifact"
    """What pairs the runs of two configurations."""


@dataclass(frozen=True)
class Evidence:
    """Which seeds count, how they were chosen, the objections of the seed ledger, and who may not win."""

    seeds: Sequence[int] | None = None
    """Those that count, and that every configuration must have finished; None: all in the rows."""
    exploratory: bool = False
    """Whether scores on these seeds chose which configurations are compared."""
    objections: Mapping[str, str] = field(default_factory=dict)
    """By configuration (the baseline too), why its seeds show nothing."""
    breaches: Mapping[str, Sequence[Breach]] | None = None
    """By configuration, why it may not be ranked, from `breaches_of`; None: as the rows say it of legality, budgets."""
    looked_at: Collection[str] = ()
    """Configurations of which outcomes were known when these seeds were declared: exploratory."""
    own_seeds: bool = False
    """Nothing was declared, so each configuration counts with the seeds it has; `seeds` are not asked for."""
    exploratory_because: str = ""
    """Why all of them are exploratory for another reason: a further attempt, or terms chosen after the results."""
    declared_alpha: float | None = None
    """Of the search space, where the attempt has a part of it only."""
    family: int = 0
    """Configurations that the sweep compares once it is complete; those without a row count as p = 1."""

    def why_exploratory(self, config: str) -> str:
        """Why p-values of this configuration are not valid, or the empty string."""
        reasons = (
            CHOSEN_ON_THESE_SEEDS if self.exploratory else "",
            self.exploratory_because,
            OUTCOMES_KNOWN if config in self.looked_at and not self.exploratory else "",
        )
        return "; ".join(reason for reason in reasons if reason)
