"""The columns of a row: names, order and types. A table without imports, so that help and schemas cost nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

ColumnType = Literal["text", "integer", "number", "boolean"]

COLUMN_TYPES: Mapping[str, ColumnType] = {
    "sweep": "text",
    "config": "text",
    "seed": "integer",
    "status": "text",
    # every swept key stands here
    "val_bpb": "number",
    "val_loss": "number",
    "val_tokens": "integer",
    "val_bytes": "integer",
    "val_documents": "integer",
    "pre_quant_bpb": "number",
    "roundtrip_bpb": "number",
    "fit_cost_bpb": "number",
    "sliding_bpb": "number",
    "ttt_bpb": "number",
    "steps": "integer",
    "train_s": "number",
    "eval_s": "number",
    "model_bytes": "integer",
    "scale_multiplier": "number",
    "pruned_share": "number",
    "code_bytes": "integer",
    "total_bytes": "integer",
    "within_budget": "boolean",
    "legal": "boolean",
    "ledger_digest": "text",
    "peak_memory_bytes": "integer",
    "tokens_per_s": "number",
    "mfu": "number",
    "fingerprint": "text",
    "commit": "text",
    "started_at": "text",
    "hardware": "text",
    "versions": "text",
    "error": "text",
    "artifact": "text",
    "stages_run": "text",
}
"""The columns in their order, swept keys apart. Units are in the names; `_bpb` is bits per byte, `val_loss` nats per
token. `val_bpb` is the headline; `val_tokens`, `val_bytes` and `val_documents` are the text that it scored,
`ledger_digest` that of the order in which it was scored and learned from (`ledger.json` of its stage), `fingerprint`
that of the stage behind it, `artifact` that of the counted bytes. `mfu` is the part of the GPUs' peak that the training
used, by `trainer/spec/flops.py`; empty on a CPU, and on a GPU whose peak is not known there."""

COLUMNS = tuple(COLUMN_TYPES)
MEASURED = "measured"
"""Key of a table's attributes: its columns that hold numbers of a program, beside ours and the swept keys."""
SCORED_TEXT = ("val_tokens", "val_bytes", "val_documents")
"""Size of the text behind the headline: targets scored, the bytes they stand for, documents with text."""
LEADING = COLUMNS[: COLUMNS.index("status") + 1]


def columns(swept_keys: Sequence[str], measured: Sequence[str] = ()) -> tuple[str, ...]:
    """All columns of a sweep in their order.

    measured:  numbers of a program that are none of our columns
    """
    return (*LEADING, *swept_keys, *measured, *COLUMNS[len(LEADING) :])
