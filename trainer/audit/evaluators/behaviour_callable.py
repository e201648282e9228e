"""A Python function as an evaluator to audit, in this process: for code that is ours, and inside the fence.

    evaluate(model, tokens, request) → nats of tokens[1:], or a mapping with 'nats' and what else `Answer` has

`model` is what `train(train_tokens, val_tokens)` returned, or None. A request has `positions`, whose distributions are
asked for, `ranks`, and `event(kind, start, end)`, to be called in the order in which positions are scored and learned.
"""

from __future__ import annotations

import contextlib
import copy
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainer.audit.evaluators.behaviour_cases import Answer, Case, Claims, Events

Evaluate = Callable[[Any, list[int], "Request"], Any]
Train = Callable[[list[int], list[int]], Any]


@dataclass
class Request:
    """What an evaluator is asked beside the score of a text."""

    positions: tuple[int, ...] = ()
    ranks: int = 1
    events: Events = field(default_factory=list)

    def event(self, kind: str, start: int, end: int) -> None:
        """Reports that positions [start, end) were scored ('score') or learned from ('train')."""
        self.events.append((kind, start, end))


@dataclass(frozen=True)
class CallableSubject:
    """An evaluator that is a function of this process."""

    name: str
    evaluate: Evaluate
    given: Mapping[str, Any] = field(default_factory=dict)
    """Its claims."""
    train: Train | None = None

    def claims(self) -> Claims:
        return Claims.of({**self.given, "trains": self.train is not None}, self.name)

    def answers(self, cases: Sequence[Case]) -> list[Answer]:
        return [self.answer(case) for case in cases]

    def answer(self, case: Case) -> Answer:
        """The evaluator's answer; an error of its own becomes the answer's error."""
        request = Request(case.positions, case.ranks)
        try:
            model = self.train(list(case.train_tokens), list(case.val_tokens)) if self.train else None
            with counted_gradients() as count:
                given = self.evaluate(copy.deepcopy(model), list(case.tokens), request)
            answer = given if isinstance(given, Mapping) else {"nats": given}
            if request.events and "events" not in answer:
                answer = {**answer, "events": request.events}
            return Answer.of(answer, count[0])
        except Exception as fault:
            return Answer.failed(f"{type(fault).__name__}: {fault}")


@contextlib.contextmanager
def counted_gradients() -> Iterator[list[int | None]]:
    """Counts how often torch computes gradients while it lasts; None where torch is not loaded."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield [None]
        return
    count: list[int | None] = [0]

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            count[0] = (count[0] or 0) + 1
            return function(*args, **kwargs)

        return counted

    autograd = torch.autograd
    kept = autograd.backward, autograd.grad
    autograd.backward, autograd.grad = counting(kept[0]), counting(kept[1])
    try:
        yield count
    finally:
        autograd.backward, autograd.grad = kept
