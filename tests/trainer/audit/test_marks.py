"""The list of marks holds every mark that a value of a script bears, and none that no module knows."""

from pathlib import Path

import pytest

from tests.trainer.audit.scripts import scripts
from trainer.audit.facts import marks
from trainer.audit.facts.values import Value
from trainer.audit.static_audit import audit_file

ROOM = Path(marks.__file__).parents[1]
LISTED = {**marks.OF_THE_VALUE, **marks.STAYING}


def test_every_mark_of_a_value_is_listed(monkeypatch):
    """Scripts of the corpus, one in six, are walked through while every mark that is set is written down."""
    borne: set[str] = set()
    slot = Value.__dict__["marks"]

    def bear(value: Value, held: frozenset[str]) -> None:
        borne.update(held)
        slot.__set__(value, held)

    monkeypatch.setattr(Value, "marks", property(lambda value: slot.__get__(value), bear))
    for path in [*scripts("legal"), *scripts("illegal")][::6]:
        audit_file(path)
    names = {mark.partition(":")[0] for mark in borne}
    assert names <= {*LISTED}, "add what is not listed to trainer/audit/facts/marks.py, with what it says"
    assert len(names) > 50


@pytest.mark.parametrize("name", LISTED)
def test_a_listed_mark_is_set_or_read_somewhere(name):
    texts = [path.read_text(encoding="utf-8") for path in ROOM.rglob("*.py") if path != Path(marks.__file__)]
    assert any(f'"{name}{end}' in text for text in texts for end in ('"', ":", "'"))


def test_no_mark_is_in_both_lists():
    assert not marks.OF_THE_VALUE.keys() & marks.STAYING.keys()
