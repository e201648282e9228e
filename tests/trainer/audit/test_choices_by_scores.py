"""What a choice by scores still says of targets that are scored later."""

from dataclasses import replace

from trainer.audit.facts.tokens import Tokens
from trainer.audit.facts.trace import Evaluation, Place
from trainer.audit.walk.interpreter import Interpreter

EARLIER, LATER = Tokens("val", frozenset([(1, 0)])), Tokens("val", frozenset([(1, 1)]))


def walk_with_a_choice() -> Interpreter:
    """A walk in which the score of the earlier chunk decided something in line 5."""
    walk = Interpreter()
    walk.trace.evaluations[1] = Evaluation(
        time=1, place=Place("a.py", 3), calls=(), loops=(), guards=(), off=frozenset(), tokens=frozenset([EARLIER]),
        objects=frozenset(), is_loss=True, with_gradient=False,
    )  # fmt: skip
    walk.deciding[5] = frozenset([1])
    return walk


def test_a_choice_by_an_earlier_chunk_is_no_choice_by_a_table_that_holds_that_chunk():
    targets = frozenset([LATER, replace(EARLIER, via="table")])
    assert walk_with_a_choice().still_open(frozenset(["chosen:5"]), targets) == frozenset()


def test_a_choice_by_the_score_of_the_same_targets_stays():
    marks = frozenset(["chosen:5"])
    assert walk_with_a_choice().still_open(marks, frozenset([EARLIER, replace(LATER, via="table")])) == marks
