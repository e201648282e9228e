"""`python docs/preset_table.py`: writes docs/preset_table.md, every preset with its score, time and cost in one line.

Scores and bytes are those that the preset declares as published; seconds are those that `plan` expects of one run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from orchestrator.plan.estimate import make_plan
from orchestrator.space.load_space import load_space
from trainer.spec.load import load_preset, preset_names
from trainer.store.local import StageStore

DOCS = Path(__file__).parent
USD_PER_GPU_HOUR = 3.0
HEAD = """# Presets at a glance

<!-- Written by `python docs/preset_table.py`; changes made here are lost. -->

A preset is a recipe with a name; `orchestrator sweep SPACE.yaml --preset NAME` uses it. Field by field, each is held
against its source in [presets.md](presets.md).

*bits per byte* is the mean of the published seeds, and *n* how many there are. *bytes* is the largest published
artifact with its code. *seconds* is one run from training to its last score, as `orchestrator plan` expects it on the
hardware that the preset names: step time and scoring as published, compression as measured here, the rest by analogy.
*GPU-hours* and *USD* follow from it at {price:g} USD per GPU-hour; `plan --price` computes them for your sweep, where
runs share stages. *legal* says whether the published score was made within the rules; every preset here runs within
them.
"""
COLUMNS = ("preset", "bits per byte", "n", "legal", "bytes", "hardware", "seconds", "GPU-hours", "USD", "what it is")


def page() -> str:
    rows = [COLUMNS, ("---",) * len(COLUMNS), *(row(name) for name in ordered())]
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in rows)
    return HEAD.format(price=USD_PER_GPU_HOUR) + "\n" + table + "\n\n" + TAIL


TAIL = """`tiny` has no published score: its text is the standard library of your own Python. Its seconds are of one
core. Any preset is also there as `NAME_nano`: the same switches at tiny widths for ten steps, so that every part of it
runs on a laptop in seconds. Scores of a nano run say nothing about the preset.
"""


def ordered() -> Iterator[str]:
    """`tiny` first, then the published ones from the highest to the lowest score."""
    published = {name: mean(load_preset(name).published) for name in preset_names()}
    return iter(sorted(published, key=lambda name: -published[name]))


def mean(published: Mapping[str, Any] | None) -> float:
    scores = (published or {}).get("val_bpb", {})
    return fmean(scores.values()) if scores else float("inf")


def row(name: str) -> tuple[str, ...]:
    preset = load_preset(name)
    published = preset.published or {}
    seeds = len(published.get("val_bpb", {}))
    seconds, gpus = run_seconds(name), preset.expected.gpus if preset.expected else 0
    hours = seconds * gpus / 3600
    return (
        f"`{name}`",
        f"{mean(published):.4f}" if seeds else "",
        str(seeds or ""),
        {True: "yes", False: "no", None: ""}[published.get("legal")],
        f"{most(published['total_bytes']):,}" if "total_bytes" in published else "",
        preset.expected.hardware if preset.expected else "",
        f"{seconds:,.0f}",
        f"{hours:.2f}" if gpus else "0",
        f"{hours * USD_PER_GPU_HOUR:.2f}" if gpus else "0",
        preset.description,
    )


def most(value: int | Mapping[Any, int]) -> int:
    return value if isinstance(value, int) else max(value.values())


def run_seconds(name: str) -> float:
    """What a plan expects of one run; the text is prepared once for all runs and not counted."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "one.yaml"
        file.write_text(f"name: one\npreset: {name}\nseeds: [1, 2]\n", encoding="utf-8")
        plan = make_plan(load_space(file), StageStore(Path(folder) / "runs"), texts=None, place="")
    return sum(stage.seconds_each or 0.0 for stage in plan.stages if not stage.stage.endswith("_text"))


if __name__ == "__main__":
    (DOCS / "preset_table.md").write_text(page(), encoding="utf-8")
    print(DOCS / "preset_table.md")
