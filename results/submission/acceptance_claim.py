"""What a policy says of a submission, computed from the scores in its submission.json and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from results.rows.read import frame_of
from results.rows.row import unfinished_row
from results.submission.manifest import AcceptanceClaim, IncumbentScore, SeedResult
from results.verdicts.policies import Acceptance, accept, policy_of


def acceptance_claim(
    policy: str,
    results: Mapping[str, SeedResult],
    incumbent: str,
    scores: Sequence[IncumbentScore],
    objection: str = "",
) -> AcceptanceClaim:
    """The claim that these scores allow.

    incumbent:  its name; empty while there is nothing to compare with
    objection:  why no policy may judge these runs
    Raises UserError for a policy that is not known.
    """
    rule = policy_of(policy)
    candidate = [
        IncumbentScore(seed=int(seed), val_bpb=run.val_bpb, val_loss=run.val_loss) for seed, run in results.items()
    ]
    if objection or (not scores and rule.target_nats is None):
        answer = Acceptance(rule, "this submission", incumbent, "cannot say", objection or "it has no incumbent")
    else:
        answer = accept(rule, _rows("this submission", candidate), _rows(incumbent, scores) if scores else None)
    numbers = {name: getattr(answer, name) for name in ("gain_bpb", "gain_nats", "margin_bpb", "statistic", "p")}
    plain = {name: None if value is None else float(value) for name, value in numbers.items()}
    return AcceptanceClaim(
        policy=policy,
        incumbent=incumbent,
        scores=tuple(scores),
        objection=objection,
        answer=answer.answer,
        sentence=answer.sentence,
        **plain,
    )


def _rows(name: str, scores: Sequence[IncumbentScore]) -> pd.DataFrame:
    known = {"legal": True, "within_budget": True}
    rows = [unfinished_row("submission", name, one.seed, "done", {}) | known | _score(one) for one in scores]
    return frame_of(rows, [])


def _score(one: IncumbentScore) -> dict[str, float | None]:
    return {"val_bpb": one.val_bpb, "val_loss": one.val_loss}
