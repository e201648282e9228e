"""Runs that nobody made, to be packaged: sound but for what only scoring would show."""

from __future__ import annotations

import json

from results.submission.package_folder import About, PackagedRun
from results.submission.texts import CurvePoint
from trainer.scoring.ledger_summary import digest_of

ABOUT = About(
    sweep="made-up",
    config="0123456789",
    label="ttt.lr=0.01",
    preset="tiny",
    commit="abc",
    hardware="CPU",
    versions="torch",
    headline="evaluate",
    name="a name",
    author="",
    github_id="",
    blurb="",
    date="2026-01-01",
    track="",
)

LEDGER = {
    "positions": 10,
    "tokens": 10,
    "bytes": 20,
    "text_sha256": "",
    "nats_sha256": "",
    "ranks": [{"chain": "", "events": [["score", 0, 6], ["train", 0, 4], ["score", 6, 10]]}],
}


def made_up_runs() -> list[PackagedRun]:
    """Two seeds of four steps."""
    curve = [CurvePoint(step, "3.000000", "1.000000", f"{step + 1}.000") for step in range(4)]
    artifact, ledger = b"FAIRWAY\x01" * 9, json.dumps(LEDGER).encode()
    digest = digest_of(LEDGER)
    return [
        PackagedRun(seed, 1.4, 2.0 + seed / 100, 4, 4.0, 0.0, 1.0, digest, ledger, artifact, curve) for seed in (1, 2)
    ]
