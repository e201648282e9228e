"""What `quantization.fit_bytes` costs on `tiny`, in bits per byte: against no limit, and against the originals' floor.

    python -m pytest -m bench tests/benchmarks/test_fit_bytes.py -s

Five seeds. The rules of scales share the trained weights of a seed and are compared seed by seed; late QAT needs its
own training and is not paired. Limits are shares of the bytes that the row maximum takes without one, and the bytes
that the floor takes. About ten minutes on one core.
"""

from pathlib import Path

import pytest

from tests.benchmarks.test_lineage_techniques import SEEDS, line_of
from tests.trainer.stages.conftest import run
from trainer.spec.budget import RESERVED_CODE_BYTES
from trainer.spec.load import load_preset
from trainer.spec.record import Record

pytestmark = pytest.mark.bench
SHARES = (0.9, 0.8, 0.7)
QAT = {"quantization.qat": "late", "quantization.qat_late_below": 0.3}


def finished(store: Path, name: str, seed: int, **changes: object) -> Record:
    values = {"seed": seed} | {key.replace("__", "."): value for key, value in changes.items()}
    record = run(store, load_preset("tiny", values).recipe, f"{name}-{seed}")
    assert record.status == "done", record.error
    return record


def arm(store: Path, name: str, **changes: object) -> list[Record]:
    return [finished(store, name, seed, **changes) for seed in SEEDS]


def fitted(store: Path, name: str, limits: list[int], **changes: object) -> list[Record]:
    """Each seed made to fit its limit, beside the code."""
    return [
        finished(
            store,
            name,
            seed,
            quantization__fit_bytes=True,
            budget__artifact_bytes=RESERVED_CODE_BYTES + limit,
            **changes,
        )
        for seed, limit in zip(SEEDS, limits, strict=True)
    ]


def bpb(records: list[Record]) -> list[float]:
    return [record.metric(record.headline, "val_bpb") for record in records]


def mean(records: list[Record], stage: str, name: str) -> float:
    return sum(record.metric(stage, name) for record in records) / len(records)


def size_line(name: str, records: list[Record]) -> str:
    multiplier = mean(records, "export", "scale_multiplier") if "fit" in name else 1.0
    return f"| {name} | {mean(records, 'export', 'model_bytes'):,.0f} | {multiplier:.2f} |"


def test_what_fitting_costs(tmp_path):
    unlimited, floor = arm(tmp_path, "unlimited"), arm(tmp_path, "floor", quantization__scale="floor")
    sizes = [record.metric("export", "model_bytes") for record in unlimited]
    arms = {"row_max, no limit": unlimited, "floor, no limit": floor}
    for share in SHARES:
        limit = int(share * min(sizes))
        arms[f"row_max, fit to {share:.0%}"] = fitted(tmp_path, f"fit{share}", [limit] * len(SEEDS))
    as_floor = [record.metric("export", "model_bytes") for record in floor]
    arms["row_max, fit to the floor's bytes"] = same_bytes = fitted(tmp_path, "as-floor", as_floor)
    limit = int(SHARES[-1] * min(sizes))
    arms["row_max, late QAT"] = qat = arm(tmp_path, "qat", **QAT)
    arms[f"row_max, late QAT, fit to {SHARES[-1]:.0%}"] = seen = fitted(tmp_path, "seen", [limit] * len(SEEDS), **QAT)

    print("\n| scales | bytes | multiplier |\n|---|---|---|")
    print(*(size_line(name, records) for name, records in arms.items()), sep="\n")
    print("\n| comparison | first, bpb | second, bpb | difference | 95 % interval | test |\n|---|---|---|---|---|---|")
    print(line_of("floor against row_max, no limit", bpb(floor), bpb(unlimited), paired=True))
    for share in SHARES:
        records = arms[f"row_max, fit to {share:.0%}"]
        print(line_of(f"fit to {share:.0%} against no limit", bpb(records), bpb(unlimited), paired=True))
    print(line_of("fit to the floor's bytes against the floor", bpb(same_bytes), bpb(floor), paired=True))
    plain = arms[f"row_max, fit to {SHARES[-1]:.0%}"]
    print(line_of(f"fit to {SHARES[-1]:.0%}: late QAT that sees it against none", bpb(seen), bpb(plain), paired=False))
    print(line_of("no limit: late QAT against none", bpb(qat), bpb(unlimited), paired=False))
    for records in (*(arms[f"row_max, fit to {share:.0%}"] for share in SHARES), seen):
        limits = [record.recipe["budget"]["artifact_bytes"] - RESERVED_CODE_BYTES for record in records]
        assert all(record.metric("export", "model_bytes") <= most for record, most in zip(records, limits, strict=True))
