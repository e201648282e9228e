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

    record:  its name, or its pull request as 549, '549', '#549' or 'pr549'
    A seed counts once: of several runs of it the last listed stands, since superseded runs are listed first. No row
    has an artifact: nothing of ours was measured on it, so nothing pairs.
    Raises UserError for an unknown record, or a pull request that holds several.
    """
    table = load_records()
    runs = table[table["record"] == _name(str(record).strip(), table)].drop_duplicates("seed", keep="last")
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
        found = list(table.loc[(table["pr"] == int(number[1])).fillna(False), "record"].drop_duplicates())
    else:
        found = list(names[(names == asked) | (names == UNMERGED + asked)])
    if len(found) > 1:
        raise UserError(f"pull request {asked} holds {len(found)} records; name one: {'; '.join(found)}")
    if not found:
        known = f"{len(names)} are known, e.g. {names.iloc[-1].removeprefix(UNMERGED)} or pr549"
        raise UserError(f"'{asked}' is no published record{did_you_mean(asked, names)}; {known}")
    return found[0]
