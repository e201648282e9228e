"""Which colour a conclusion has in a report."""

from __future__ import annotations

from typing import Literal

from results.verdicts.verdict import Headline

Tone = Literal["good", "plain", "bad"]
TONES: dict[Headline, Tone] = {"better": "good", "not shown": "plain", "cannot say": "bad", "infeasible": "bad"}
