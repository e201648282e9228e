"""One flat row per run: a pure function of its record, with the same columns everywhere.

Needs no pandas, so that a plan can speak of columns without paying for them. Scores are lower-is-better; an empty cell
is None. Rows judge nothing: what is ranked, averaged or compared is decided in `tables` and `compare`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from results.rows.columns import COLUMN_TYPES, columns
from trainer.spec.budget import total_bytes
from trainer.spec.field_index import disabled_by, value_at
from trainer.spec.record import split_run_id
from trainer.spec.runnable import is_program

Status = Literal["planned", "running", "done", "failed", "stopped", "drifted"]
Row = dict[str, Any]


def row_of(record: Mapping[str, Any], sweep: str, swept_keys: Sequence[str]) -> Row:
    """The row of a run that ended.

    record:      a `trainer.spec.record.Record` as parsed JSON
    swept_keys:  dotted recipe keys; a list becomes its JSON text, null the text `null`; empty: a switch disables it
    Scores are empty unless the run is done: what a failed run scored on the way is no result of its configuration.
    Raises KeyError, TypeError or ValueError when the record lacks what every record of a sweep has.
    """
    recipe = record["recipe"]
    swept_values = {key: _chosen(value_at(recipe, key)) if _acts(recipe, key) else None for key in swept_keys}
    unfinished = unfinished_row(sweep, *split_run_id(record["run_id"]), record["status"], swept_values)
    if is_program(recipe):
        return unfinished | _of_program(record)
    metrics = {stage: outcome["metrics"] for stage, outcome in record["stages"].items()}
    headline = metrics.get(record["headline"], {})
    filled: Row = {
        **unfinished,
        **_of_training(metrics.get("train", {})),
        **_of_artifact(metrics.get("export", {})),
        **{name: record.get(name) for name in ("within_budget", "commit", "started_at", "hardware", "versions")},
        "val_tokens": headline.get("num_tokens"),
        "val_bytes": headline.get("num_bytes"),
        "val_documents": metrics.get("val_text", {}).get("num_documents") if headline else None,
        "eval_s": headline.get("eval_s"),
        "legal": headline.get("legal"),
        "ledger_digest": headline.get("ledger_digest"),
        "fingerprint": _fingerprint(record, record["headline"]),
        "artifact": _fingerprint(record, "export"),
        "error": record["error"],
        "stages_run": " ".join(record["stages_run"]),
    }
    if record["status"] == "done":
        filled |= _scores(metrics, headline)
    return filled


def _acts(recipe: Mapping[str, Any], key: str) -> bool:
    """Whether a key has an effect: no switch disables it; a program is given that knob."""
    return key in recipe["values"] if is_program(recipe) else disabled_by(recipe, key) is None


def _of_program(record: Mapping[str, Any]) -> Row:
    """What a program told: every number that it was read, under its name, whether or not it is one of our columns.

    Nobody audits the evaluation of a program: `legal` is what its user says it is, so it excludes nobody.
    """
    told = {name: value for outcome in record["stages"].values() for name, value in outcome["metrics"].items()}
    done = record["status"] == "done"
    numbers = {
        name: int(value) if COLUMN_TYPES.get(name) == "integer" else value
        for name, value in told.items()
        if isinstance(value, int | float) and COLUMN_TYPES.get(name, "number") in ("integer", "number")
    }
    scores = ("val_bpb", "val_loss", record["recipe"]["headline"])
    kept = numbers if done else {name: value for name, value in numbers.items() if name not in scores}
    limited, names = told.get("limited_file_bytes"), record["recipe"]["stages"]
    measured = [outcome["metrics"] for outcome in record["stages"].values()]
    seconds, peaks = ([of[name] for of in measured if name in of] for name in ("seconds", "process_peak_bytes"))
    return {
        **({} if limited is None else {"model_bytes": limited}),
        **({"eval_s": told["seconds"]} if len(names) > 1 and "seconds" in told else {}),
        **kept,
        **({"program_s": sum(seconds), "process_peak_bytes": max(peaks, default=0)} if seconds else {}),
        **{name: record.get(name) for name in ("within_budget", "commit", "started_at", "hardware", "versions")},
        "legal": True if done else None,
        "fingerprint": _fingerprint(record, record["headline"]),
        "artifact": _fingerprint(record, names[-2]["name"]) if len(names) > 1 else None,
        "error": record["error"],
        "stages_run": " ".join(record["stages_run"]),
    }


LOG_LINES = "\n  | "
"""What stands before the end of a program's log in an error."""


def short_error(error: str) -> str:
    """An error in a line: of a traceback the last one, of a program's failure what stands before its log."""
    if LOG_LINES in error or not error:
        return error.partition("\n")[0]
    return error.splitlines()[-1]


def kind_of_error(error: str) -> str:
    """The same without values after '=', by which failures of one cause differ from run to run: '--seed=#'."""
    return re.sub(r"=\s?[^\s;:,]+", "=#", short_error(error))


def unfinished_row(sweep: str, config: str, seed: int, status: Status, swept_values: Mapping[str, Any]) -> Row:
    """The row of a run that has no record yet: identity and values of the swept keys, the rest empty."""
    row: Row = dict.fromkeys(columns(list(swept_values)))
    row.update(sweep=sweep, config=config, seed=seed, status=status)
    row.update({key: _cell(value) for key, value in swept_values.items()})
    return row


def _scores(metrics: Mapping[str, Mapping[str, Any]], headline: Mapping[str, Any]) -> Row:
    diagnosis = metrics.get("diagnose", {})
    return {
        "val_bpb": headline.get("val_bpb"),
        "val_loss": headline.get("val_loss"),
        "pre_quant_bpb": diagnosis.get("pre_quant_bpb"),
        "roundtrip_bpb": diagnosis.get("roundtrip_bpb"),
        "fit_cost_bpb": diagnosis.get("fit_cost_bpb"),
        "sliding_bpb": metrics.get("evaluate", {}).get("val_bpb"),
        "ttt_bpb": metrics.get("adapt", {}).get("val_bpb"),
    }


def _of_training(train: Mapping[str, Any]) -> Row:
    return {name: train.get(name) for name in ("steps", "train_s", "peak_memory_bytes", "tokens_per_s", "mfu")}


def _of_artifact(export: Mapping[str, Any]) -> Row:
    model_bytes = export.get("model_bytes")
    return {
        "model_bytes": model_bytes,
        "scale_multiplier": export.get("scale_multiplier"),
        "pruned_share": export.get("pruned_share"),
        "total_bytes": None if model_bytes is None else total_bytes(model_bytes),
    }


def _fingerprint(record: Mapping[str, Any], stage: str) -> str | None:
    outcome = record["stages"].get(stage)
    return None if outcome is None else outcome["fingerprint"]


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | tuple) else value


def _chosen(value: Any) -> Any:
    """A null that was chosen is the text `null`: an empty cell says that a switch disables the key."""
    return "null" if value is None else _cell(value)
