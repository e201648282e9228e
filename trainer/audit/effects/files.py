"""Files that a script reads and writes: which text their names say they hold, and what ends up in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from trainer.audit.effects.shares_of_ranks import filed
from trainer.audit.facts.known_names import IN_MEMORY, NO_TOKENS
from trainer.audit.facts.machine import Machine
from trainer.audit.facts.tokens import Source, Tokens
from trainer.audit.facts.trace import Place
from trainer.audit.facts.values import UNKNOWN, Cell, Value, changed, combined, full


def source_of(texts: frozenset[str]) -> Source | Literal["both"] | None:
    """Which text a file of this name holds: 'val', 'train', 'both', or None."""
    names = [text.rstrip("/").rpartition("/")[2].lower() for text in texts if not NO_TOKENS.search(text)]
    if any(re.search(r"(?<![a-z])(val|valid|validation|test|heldout|holdout)(?![a-z])", name) for name in names):
        return "val"
    if any(re.search(r"(?<![a-z])train(ing)?(?![a-z])", name) for name in names):
        return "train"
    return "both" if any(re.search(r"\*\S*\.(bin|npy|parquet)$", name) for name in names) else None


def reading(machine: Machine, path: str, values: list[Value]) -> Value | None:
    """The tokens of the files that are named; None if the names say nothing."""
    together = combined(values)
    source = source_of(together.text)
    if source is None or values[0].tokens or (path == "open" and opens_to_write(values)):
        return None
    line = machine.place.line
    sources: tuple[Source, ...] = ("val", "train") if source == "both" else (source,)
    machine.trace.sources.update(sources)
    if source == "both":
        patterns = machine.trace.patterns.items()
        found = [place for name, place in patterns if any(text.endswith(name) for text in together.text)]
        machine.trace.mixed.update({line: found[0]} if found else {})
    return Value(tokens=frozenset(Tokens(one, together.at, line=line) for one in sources), at=together.at)


def remember_pattern(machine: Machine, text: str, place: Place) -> None:
    """Remembers where a pattern of file names is written that matches training and validation files."""
    if "*" in text and source_of(frozenset([text])) == "both":
        machine.trace.patterns.setdefault(text, place)


def holds_learned(machine: Machine, held: Value, names: frozenset[str]) -> bool:
    """Whether a file holds weights or tables, or statistics of the validation text that were written under its name."""
    counted = any(part.source == "val" and part.via == "statistic" for part in held.tokens)
    return bool(held.objects) or (counted and any(names and known == names for known, _ in machine.files))


def opens_to_write(values: list[Value]) -> bool:
    """Whether `open` is called to write."""
    return any(isinstance(value.const, str) and value.const[:1] in ("w", "a", "x") for value in values[1:])


def written(machine: Machine, arguments: Sequence[Value], value: Value, path: str) -> Value:
    """What is saved, dumped or compressed: into a buffer or a file, where it is not only returned."""
    if path.startswith(("np.save", "numpy.save")):  # which names the file first
        arguments = [*arguments[1:2], *arguments[:1], *arguments[2:]]
    saved = full(arguments[0]) if arguments else UNKNOWN
    buffers = [ref for target in arguments[1:2] for ref in target.refs if isinstance(ref, Cell)]
    for buffer in buffers:
        buffer.content = changed(saved, refs=(), snapshot=machine.tick())
    if len(arguments) > 1 and not buffers and path.rpartition(".")[2] not in IN_MEMORY:
        machine.written(saved, arguments[1].text)
    held = full(value)
    filed(machine, held)
    _note_validation(machine, held, path)
    return changed(held, refs=())


def _note_validation(machine: Machine, held: Value, path: str) -> None:
    vias = {part.via for part in held.tokens if part.source == "val"}
    if held.scores or not vias:
        return
    if held.objects & machine.models and "tokens" in vias:
        machine.note("val-in-artifact", f"what {path} writes holds weights and validation tokens")
    elif held.objects & machine.models and "table" in vias and not machine.trace.reports:  # before any score
        machine.note("val-in-artifact", f"what {path} writes holds weights and counts of validation tokens")
    elif held.objects and vias & {"activation", "statistic"}:
        machine.calibrated(held, f"what {path} writes is computed from validation tokens")
    elif "tokens" in vias:
        machine.note("val-in-artifact", f"what {path} writes holds validation tokens", sure=False)
