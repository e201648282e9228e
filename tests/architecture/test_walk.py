"""The lists of hand-overs in docs/architecture.md: what they name exists, and a sweep calls it in that order."""

from __future__ import annotations

import importlib
import inspect
import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any

import pytest

from orchestrator.cli import main
from tests.architecture.test_house import FLOORS, ROOT, modules_imported, rooms_of

PAGE = ROOT / "docs" / "architecture.md"
CHAPTER = "### Three values, followed"
ROW = re.compile(r"^\| `(?P<room>[^`]+)` \| `(?P<name>[^`]+)` \| (?:`(?P<value>[^`]+)`)? ?\| (?P<how>.*?) ?\|$")
KINDS = re.compile(
    r"(?P<kind>calls|asked for|message|file in|returned to)"
    r"(?: through `(?P<protocol>[^`]+)`| `(?P<target>[^`]+)`(?: by `(?P<namer>[^`]+)`)?)?"
)
BY_RAY = "On Ray, from the feed to the stages"
HEIGHTS = (
    *(("trainer", room) for room in ("store", "stages", "worker_group.py")),
    *(
        (package, room)
        for package in ("results", "orchestrator")
        for floor in FLOORS[package]
        for room in rooms_of(floor)
    ),
)
"""Rooms from the lowest floor to the highest."""


@dataclass(frozen=True)
class Step:
    """One line of a list."""

    room: str
    name: str
    """Dotted name of the function, class or method."""
    value: str
    """Class of what it hands on."""
    how: str

    @cached_property
    def target(self) -> Any:
        return named(self.name)

    @property
    def kind(self) -> re.Match[str]:
        match = KINDS.fullmatch(self.how)
        assert match, f"{self.name} hands on in an unknown way: {self.how!r}"
        return match


def lists(page: str) -> dict[str, list[Step]]:
    """The lists of the chapter, by heading."""
    chapter = page.partition(CHAPTER)[2].partition("\n## ")[0]
    parts = re.split(r"^#### (.*)$", chapter, flags=re.MULTILINE)[1:]
    lines = {heading: text.splitlines() for heading, text in zip(parts[::2], parts[1::2], strict=True)}
    return {
        heading: [Step(row["room"], row["name"], row["value"] or "", row["how"]) for row in map(ROW.match, rows) if row]
        for heading, rows in lines.items()
    }


LISTS = lists(PAGE.read_text(encoding="utf-8"))
PAIRS = [
    pytest.param(*pair, id=f"{heading}: {pair[0].name.rpartition('.')[2]}")
    for heading, steps in LISTS.items()
    for pair in itertools.pairwise(steps)
]
INLINE = {heading: steps for heading, steps in LISTS.items() if heading != BY_RAY}


def module_of(name: str) -> ModuleType:
    """The module that a dotted name lies in."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        if (ROOT.joinpath(*parts[:end])).with_suffix(".py").exists():
            return importlib.import_module(".".join(parts[:end]))
    raise AssertionError(f"no module of {name}")


def named(name: str) -> Any:
    """What a dotted name names. Raises AttributeError if its module has no such thing."""
    module = module_of(name)
    target: Any = module
    for part in name.removeprefix(module.__name__).split(".")[1:]:
        target = getattr(target, part)
    return target


def imports(name: str) -> set[str]:
    """The modules that the module of a dotted name imports, late ones included."""
    return modules_imported(Path(inspect.getfile(module_of(name))))


def imports_of_room(name: str) -> set[str]:
    """The modules that it imports, itself or by other modules of its room."""
    room = Path(inspect.getfile(module_of(name))).parent
    own = {path.stem for path in room.glob("*.py")}
    package = module_of(name).__package__
    seen, left = set(), imports(name)
    while left:
        seen |= left
        left = set().union(*(imports(each) for each in left if each in {f"{package}.{stem}" for stem in own})) - seen
    return seen


def functions(target: Any) -> list[FunctionType]:
    """The function itself, or all methods of a class."""
    if not inspect.isclass(target):
        return [target]
    members = (getattr(member, "fget", None) or getattr(member, "__func__", member) for member in vars(target).values())
    return [member for member in members if inspect.isfunction(member)]


def annotations(target: Any, *, returned: bool) -> str:
    """The annotations of what it takes or returns, as text."""
    every = [inspect.get_annotations(function) for function in functions(target)]
    return " ".join(str(text) for one in every for name, text in one.items() if (name == "return") == returned)


def is_named_in(value: str, text: str) -> bool:
    return re.search(rf"\b{value}\b", text) is not None


def height(room: str) -> int:
    package, _, name = room.partition("/")
    return HEIGHTS.index((package, name))


def room_of(name: str) -> str:
    return "/".join(Path(inspect.getfile(module_of(name))).relative_to(ROOT).parts[:2])


def test_store_seed_and_swept_value_are_all_followed():
    assert list(LISTS) == ["The store, to the row", "The store, to a stage", "A seed", "A swept value", BY_RAY]
    assert min(map(len, LISTS.values())) >= 4


@pytest.mark.parametrize("heading", LISTS)
def test_every_step_exists_and_stands_in_its_room(heading):
    for step in LISTS[heading]:
        assert callable(step.target)
        assert step.room == room_of(step.name)


@pytest.mark.parametrize("heading", LISTS)
def test_no_room_is_entered_again_after_it_was_left(heading):
    entered = [room for room, _ in itertools.groupby(step.room for step in LISTS[heading])]
    assert len(entered) == len(set(entered)), entered


def test_a_list_is_read_line_by_line():
    page = f"{CHAPTER}\n#### A seed\n| `a/b` | `a.b.c` | `V` | calls |\n| `a/d` | `a.d.e` | | |\n\n## Next\n"
    (steps,) = lists(page).values()
    assert [(step.room, step.value, step.how) for step in steps] == [("a/b", "V", "calls"), ("a/d", "", "")]


@pytest.mark.parametrize(("step", "following"), PAIRS)
def test_the_two_ends_of_a_hand_over_know_each_other(step, following):
    kind, own, other = step.kind, module_of(step.name).__name__, module_of(following.name).__name__
    match kind["kind"], kind["protocol"]:
        case "calls", None:
            assert other in imports(step.name)
        case "asked for", None:
            assert own in imports(following.name) | {other}
        case (("calls" | "asked for"), protocol):
            caller, called = (step, following) if kind["kind"] == "calls" else (following, step)
            assert module_of(protocol) is module_of(caller.name)
            assert_fits(named(protocol), called.target)
        case "returned to", _:
            assert {own, other} <= imports_of_room(kind["target"])
        case "message", _:
            assert getattr(module_of(step.name), step.value) is getattr(module_of(following.name), step.value)
        case "file in", _:
            folder = kind["target"].rpartition(".")[2]
            assert isinstance(named(kind["target"]), str)
            for end in (kind["namer"], following.name):
                assert kind["target"] in imports(end)
            assert is_named_in(folder, inspect.getsource(named(kind["namer"])))
            assert is_named_in(folder, inspect.getsource(module_of(following.name)))


def assert_fits(protocol: type, target: Any) -> None:
    """What implements a protocol has its methods, and takes the arguments that it is called with."""
    for method in functions(protocol):
        if method.__module__ != protocol.__module__:  # what typing adds to every protocol
            continue
        implemented = target if method.__name__ == "__call__" else getattr(target, method.__name__)
        assert set(inspect.signature(method).parameters) - {"self"} <= set(inspect.signature(implemented).parameters)


@pytest.mark.parametrize(("step", "following"), PAIRS)
def test_what_is_handed_on_is_what_the_next_step_takes(step, following):
    kind = step.kind["kind"]
    if kind in ("returned to", "asked for"):
        assert is_named_in(step.value, annotations(step.target, returned=True))
    if kind in ("returned to", "calls"):
        takes = annotations(following.target, returned=False)
        assert is_named_in(step.value, takes) or following.target.__name__ == step.value


@pytest.mark.parametrize(("step", "following"), PAIRS)
def test_calls_go_to_the_same_floor_or_a_lower_one(step, following):
    kind = step.kind
    if kind["kind"] == "calls":
        assert height(step.room) >= height(following.room)
    if kind["kind"] == "asked for":
        assert height(following.room) >= height(step.room)
    if kind["kind"] == "returned to":
        assert height(room_of(kind["target"])) >= max(height(step.room), height(following.room))


@dataclass(frozen=True)
class Event:
    """A call of a listed function, or its return."""

    name: str
    is_return: bool
    on_stack: frozenset[str]
    values: Sequence[Any]
    """The arguments, or what it returned."""


class Trace:
    """What happens to listed functions and classes in this thread, in its order."""

    def __init__(self, names: set[str]):
        self.events: list[Event] = []
        self._names: dict[CodeType, set[str]] = {}
        for name in names:
            for function in functions(named(name)):
                self._names.setdefault(inspect.unwrap(function).__code__, set()).add(name)

    def __call__(self, frame: FrameType, event: str, returned: Any) -> None:
        if event not in ("call", "return") or frame.f_code not in self._names:
            return
        values = (returned,) if event == "return" else tuple(frame.f_locals.values())
        on_stack = frozenset(name for code in codes(frame) for name in self._names.get(code, ()))
        for name in self._names[frame.f_code]:
            self.events.append(Event(name, event == "return", on_stack, values))

    def calls(self, name: str, after: int) -> Iterator[tuple[int, Event]]:
        return self._of(name, after, is_return=False)

    def returns(self, name: str, after: int) -> Iterator[tuple[int, Event]]:
        return self._of(name, after, is_return=True)

    def _of(self, name: str, after: int, is_return: bool) -> Iterator[tuple[int, Event]]:
        for place, event in enumerate(self.events[after + 1 :], start=after + 1):
            if event.name == name and event.is_return == is_return:
                yield place, event

    def hand_over(self, step: Step, following: Step, after: int) -> int | None:
        """Place of the first event after another one by which a step handed its value to the following one."""
        kind = step.kind
        if kind["kind"] == "calls":
            calls = self.calls(following.name, after)
            return next((place for place, call in calls if step.name in call.on_stack and has(call, step.value)), None)
        for place, end in self.returns(step.name, after):
            if kind["kind"] == "asked for" and following.name in end.on_stack and has(end, step.value):
                return place
            for later, call in self.calls(following.name, place):
                passed_on = has(end, step.value) and any(value is end.values[0] for value in call.values)
                if kind["kind"] == "file in" or (passed_on and kind["target"] in call.on_stack):
                    return later
        return None


def codes(frame: FrameType | None) -> Iterator[CodeType]:
    while frame:
        yield frame.f_code
        frame = frame.f_back


def has(event: Event, value: str) -> bool:
    return any(value in (cls.__name__ for cls in type(one).__mro__) for one in event.values)


SPACE = """
name: small
preset: tiny
method: random
run_cap: 1
seeds: [1]
parameters: {ttt.mode: {value: score_first}, ttt.lr: {min: 1e-3, max: 1e-2}}
compare: {baseline: {ttt.mode: off}}
"""
SMALL = ("budget.train_steps=2", "schedule.warmdown_steps=1", "averaging.use=none", "data.val_bytes=1")


@pytest.fixture(scope="module")
def traced(text_store, tmp_path_factory) -> Trace:
    """`orchestrator sweep --inline` of one seed, the baseline and one configuration."""
    folder = tmp_path_factory.mktemp("walk")
    (folder / "runs" / "stages").mkdir(parents=True)
    for stage in ("train_text", "val_text"):
        (folder / "runs" / "stages" / stage).symlink_to(text_store / "stages" / stage)
    (folder / "small.yaml").write_text(SPACE, encoding="utf-8")
    steps = [step for steps in INLINE.values() for step in steps]
    trace = Trace({step.name for step in steps} | {step.kind["target"] for step in steps if "returned to" in step.how})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = [word for field in (*SMALL, "evaluation.diagnose=false") for word in ("--set", field)]
        patch.setattr(sys, "argv", ["orchestrator", "sweep", "small.yaml", "--inline", "--no-check", *words])
        sys.setprofile(trace)
        try:
            with pytest.raises(SystemExit) as ended:
                main()
        finally:
            sys.setprofile(None)
    assert not ended.value.code
    return trace


@pytest.mark.parametrize("heading", INLINE)
def test_a_sweep_hands_the_value_on_as_the_list_says(traced, heading):
    place: int | None = -1
    for step, following in itertools.pairwise(INLINE[heading]):
        place = traced.hand_over(step, following, place)
        assert place is not None, f"{step.name} did not hand {step.value} to {following.name}: {step.how}"
