"""Published records of the challenge, one run each, as baselines to compare with.

Read from `data/records.csv`, a transcript of the records' own logs and tables; its remarks stand in `notes`. Its
`artifact_bytes` counts code and model together, which rows call `total_bytes`.
"""

from __future__ import annotations

import re
from importlib.resources import files

import pandas as pd

from trainer.spec.errors import UserError, did_you_mean

UNMERGED = "unmerged: "


def load_records() -> pd.DataFrame:
    """Every published run as the file has it, with `legal` read from its notes.

    A score after training on validation text that had not been scored yet is marked ILLEGAL there.
    """
    with files("results").joinpath("data", "records.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file, dtype={"pr": "Int64", "seed": "Int64"})
    return table.assign(legal=~table["notes"].fillna("").str.contains("ILLEGAL"))


def record_losses(record: str | int) -> pd.DataFrame:
    """The scores of one record as rows that `compare` takes as a baseline, one per seed.

    record:  its name, its pull request as 549, '549', '#549' or 'pr549', or 'frontier': the best merged one
    A seed counts once: of several runs of it the last listed stands, since superseded runs are listed first. No row
    has an artifact: nothing of ours was measured on it, so nothing pairs.
    Raises UserError for an unknown record, or a pull request that holds several.
    """
    table = load_records()
    asked = frontier_before("9999") if record == "frontier" else str(record).strip()
    return _rows(table[table["record"] == _name(asked, table)])


def merged_records() -> dict[str, pd.DataFrame]:
    """The rows of every merged record by name, in the order they came: by date, on one day by pull request.

    What has no pull request (the organisers' baseline) stands before the others of its day.
    """
    table = load_records()
    merged = table[~table["record"].str.startswith(UNMERGED)]
    order = merged.groupby("record", sort=False).agg(date=("date", "max"), pr=("pr", "first"))
    names = order.fillna({"pr": 0}).sort_values(["date", "pr"], kind="stable").index
    return {str(name): _rows(merged[merged["record"] == name]) for name in names}


def frontier_before(date: str) -> str:
    """The merged record with the best legal mean score of all that are older than `date` (ISO, a day).

    Raises UserError if there is none.
    """
    dates = load_records().groupby("record")["date"].max()
    older = {name: rows for name, rows in merged_records().items() if dates[name] < date and rows["legal"].all()}
    if not older:
        raise UserError(f"no record is older than {date}")
    return min(older, key=lambda name: float(older[name]["val_bpb"].mean()))


def date_of(record: str | int) -> str:
    """The day a record was published, ISO; the last if its runs came over several."""
    table = load_records()
    return str(table.loc[table["record"] == _name(str(record).strip(), table), "date"].max())


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
        known = f"{len(names)} are known, e.g. {names.iloc[-1].removeprefix(UNMERGED)} or pr549"
        raise UserError(f"'{asked}' is no published record{did_you_mean(asked, names)}; {known}")
    return matches[0]
