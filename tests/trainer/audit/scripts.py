"""The scripts written for the audit, and what is planted in them."""

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "data" / "audit_scripts"
PLANTED = re.compile(r"# planted: (E\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Planted:
    """A breach, where and of which condition."""

    file: str
    line: int
    condition: str


def scripts(kind: str) -> list[Path]:
    """The scripts of 'legal' or 'illegal'; one with helper modules is a folder with a `train_gpt.py`."""
    return sorted([*(FOLDER / kind).glob("*.py"), *(FOLDER / kind).glob("*/train_gpt.py")])


def name_of(script: Path) -> str:
    """A script's name in test output."""
    return script.parent.name if script.name == "train_gpt.py" else script.stem


def planted_in(script: Path) -> list[Planted]:
    """What is planted in a script and its helper modules."""
    files = script.parent.glob("*.py") if script.name == "train_gpt.py" else [script]
    return [
        Planted(file.name, number, found[1])
        for file in files
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if (found := PLANTED.search(line))
    ]
