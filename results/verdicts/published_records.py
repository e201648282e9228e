"""Published records of the challenge, one run each, as baselines to compare with.

Read from `data/records.csv`, a transcript of the records' own logs and tables; its remarks stand in `notes`. Its
`artifact_bytes` counts code and model together, which rows call `total_bytes`. A run that a record's authors made and
left out of its mean is among the runs, and its note says NOT REPORTED.

A record's incumbent is the best legal one that was merged before it, on its own track: by date, on one day by number.
"""

from __future__ import annotations

import functools
import re
from importlib.resources import files

import pandas as pd

from trainer.spec.errors import UserError, did_you_mean

UNMERGED = "unmerged: "
MAIN_TRACK = "10min_16mb"
MOST_BYTES = 16_000_000
"""The limit of that track; what is over it is no incumbent."""


def load_records() -> pd.DataFrame:
    """Every published run as the file has it, with `legal` read from its notes.

    A score after training on validation text that had not been scored yet is marked ILLEGAL there, and a run that its
    record leaves out NOT REPORTED (`reported`).
    """
    return _table().copy()


@functools.cache
def _table() -> pd.DataFrame:
    with files("results").joinpath("data", "records.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file, dtype={"pr": "Int64", "seed": "Int64"})
    notes = table["notes"].fillna("")
    return table.assign(legal=~notes.str.contains("ILLEGAL"), reported=~notes.str.contains("NOT REPORTED"))


def record_losses(record: str | int) -> pd.DataFrame:
    """The scores of one record as rows that `compare` takes as a baseline, one per seed.

    record:  its name, its pull request as 549, '549', '#549' or 'pr549', or 'frontier': the best merged one
    A seed counts once: of several runs of it the last listed stands, since superseded runs are listed first. No row
    has an artifact: nothing of ours was measured on it, so nothing pairs.
    Raises UserError for an unknown record, or a pull request that holds several.
    """
    table = load_records()
    asked = frontier() if record == "frontier" else str(record).strip()
    return _rows(table[table["record"] == _name(asked, table)])


def name_of(record: str | int) -> str:
    """The full name of a record. Raises UserError as `record_losses` does."""
    return frontier() if record == "frontier" else _name(str(record).strip(), load_records())


def choice_of_seeds(record: str) -> str:
    """'the record reports the best 5 of its 7 seeds', where its mean leaves some out; else empty."""
    table = load_records()
    runs = table[table["record"] == record].drop_duplicates("seed", keep="last")
    left_out = int((~runs["reported"]).sum())
    return f"the record reports the best {len(runs) - left_out} of its {len(runs)} seeds; all count" if left_out else ""


def merged_records() -> dict[str, pd.DataFrame]:
    """The rows of every merged record by name, in the order they came: by date, on one day by pull request.

    What has no pull request (the organisers' baseline) stands before the others of its day.
    """
    order = _order()
    merged = order[~order.index.str.startswith(UNMERGED)]
    runs = dict(tuple(_table().groupby("record", sort=False)))
    return {str(name): _rows(runs[name]) for name in merged.index}


def incumbent_of(record: str) -> str | None:
    """The record that this one had to beat: the best legal one merged before it on its track; None for the first.

    record:  its full name; it need not be merged itself
    """
    return _best_before(_order(), record)


def incumbents() -> dict[str, str | None]:
    """The incumbent of every merged record, in the order they came."""
    order = _order()
    return {str(name): _best_before(order, str(name)) for name in order.index if not str(name).startswith(UNMERGED)}


def frontier() -> str:
    """The best legal record of the main track."""
    order = _order()
    return str(order.loc[_may_be_incumbent(order) & (order["track"] == MAIN_TRACK), "mean"].idxmin())


def _best_before(order: pd.DataFrame, record: str) -> str | None:
    asked = order.loc[record]
    before = (order["date"] < asked["date"]) | ((order["date"] == asked["date"]) & (order["pr"] < asked["pr"]))
    means = order.loc[before & _may_be_incumbent(order) & (order["track"] == asked["track"]), "mean"]
    return None if means.empty else str(means.idxmin())


def _may_be_incumbent(order: pd.DataFrame) -> pd.Series[bool]:
    return order["legal"] & ~order.index.str.startswith(UNMERGED) & ~(order["bytes"] > MOST_BYTES)


@functools.cache
def _order() -> pd.DataFrame:
    """One row per record, in the order they came: date (the last of its runs), number, track, mean, legal, bytes."""
    counted = _table().drop_duplicates(["record", "seed"], keep="last").groupby("record", sort=False)
    order = counted.agg(
        date=("date", "max"),
        pr=("pr", "first"),
        track=("track", "first"),
        mean=("val_bpb", "mean"),
        legal=("legal", "all"),
        bytes=("artifact_bytes", "max"),
    )
    return order.fillna({"pr": 0}).sort_values(["date", "pr"], kind="stable")


def seed_sd_bpb() -> float:
    """Median over the records of their seed-to-seed standard deviation: what one may expect of full-size runs."""
    sds = [float(rows["val_bpb"].std()) for rows in merged_records().values() if len(rows) > 2]
    return float(pd.Series(sds).median())


def shared_artifact_sd_bpb() -> float:
    """Median spread of the gain by test-time training on the same artifact, from records that state both scores."""
    table = load_records()
    before = table["notes"].str.extract(r"pre_ttt_sliding (\d\.\d+)")[0].astype("float64")
    gains = (before - table["val_bpb"]).groupby(table["record"]).agg(["std", "count"])
    return float(gains.loc[gains["count"] > 2, "std"].median())


def _rows(runs: pd.DataFrame) -> pd.DataFrame:
    runs = runs.drop_duplicates("seed", keep="last")
    return pd.DataFrame(
        {
            "config": runs["record"],
            "seed": runs["seed"],
            "status": "done",
            "val_bpb": runs["val_bpb"],
            "val_loss": runs["val_loss"],
            "legal": runs["legal"],
            "artifact": None,
        }
    ).reset_index(drop=True)


def _name(asked: str, table: pd.DataFrame) -> str:
    names = table["record"].drop_duplicates()
    number = re.fullmatch(r"(?:pr)?\s*#?(\d+)", asked, re.IGNORECASE)
    if number:
        matches = list(table.loc[(table["pr"] == int(number[1])).fillna(False), "record"].drop_duplicates())
    else:
        matches = list(names[(names == asked) | (names == UNMERGED + asked)])
    if len(matches) > 1:
        raise UserError(f"pull request {asked} holds {len(matches)} records; name one: {'; '.join(matches)}")
    if not matches:
        known = (
            f"{len(names)} are known, e.g. {names.iloc[-1].removeprefix(UNMERGED)} or pr549; all: orchestrator records"
        )
        raise UserError(f"'{asked}' is no published record{did_you_mean(asked, names)}; {known}")
    return matches[0]
