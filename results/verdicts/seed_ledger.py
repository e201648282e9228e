"""The seed ledger: which seeds were declared, which started, and what became of every one of them.

One file per store, only ever appended to. Each line holds the hash of the line before, so that a line that was changed,
removed or inserted later is detected; a second file names the newest line, so that a cut end is detected too. Seeds are
declared before they run; what rests on a choice among seeds whose outcomes were known is refused. It keeps no scores:
the records do.

    {"event": "declared", "sweep": "ttt", "config": "3f2a", "seeds": [1, 42], "purpose": "sweep",
     "tested": {"space": "9c1e", "confirmatory": true, "attempts": 1}, "at", "previous"}
    {"event": "started", "sweep": "ttt", "config": "3f2a", "seed": 42, "at", "previous"}
    {"event": "ended", "sweep": "ttt", "config": "3f2a", "seed": 42, "status": "done", "at", "previous"}

A run that ended without a score (it crashed, or its score was not found in its output) has `"scored": false` in its
last line; where a later run of it has one, a second line says so.

Machines that share a bucket add to one chain there, an object for each line; the file is then a copy. It detects
mistakes and simple edits; a consistent rewrite of both files and the records is not detected.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from results.verdicts.attempts import Tested, shows_a_score
from trainer.spec.errors import StoreError, UserError
from trainer.spec.json_text import parse_json
from trainer.spec.record import now
from trainer.store import locks
from trainer.store.atomic_write import replace_synced
from trainer.store.bucket import Bucket
from trainer.store.mirror import bucket_of

FILE = "seed_ledger.jsonl"
HEAD = "seed_ledger.head"
"""Number and hash of the newest line; written after it, so a killed writer leaves it one line behind."""
FIRST = "0" * 64
"""The hash that the first line holds in place of an earlier line's."""
HEAD_PATTERN, LONGEST_HEAD_BYTES = re.compile(rb"([0-9]{1,15}) ([0-9a-f]{64})\n?"), 200
UNREADABLE = -1, ""
"""Stands for a head that is empty, zeroed or something else."""
NAMES = ("event", "sweep", "config", "previous")
MOST_LINES_AT_ONCE = 512
Purpose = Literal["sweep", "confirm"]
Entry = dict[str, Any]


@dataclass(frozen=True)
class SeedOutcome:
    """What became of one declared seed of one configuration."""

    sweep: str
    config: str
    seed: int
    purpose: Purpose
    outcome: str
    """'declared', 'started', or the status of its record."""


class Ledger:
    """The ledger of one store; lines that other processes add are read as they come."""

    def __init__(self, store: Path):
        self.path, self._head = Path(store) / FILE, Path(store) / HEAD
        self._bucket = bucket_of(Path(store))
        self._forget()

    def _forget(self) -> None:
        self._entries: list[Entry] = []
        self._read_bytes, self._hashes = 0, [FIRST]
        self._read_at: object = None
        self._inode = 0
        self._declared: dict[tuple[str, str], list[int]] = {}
        self._runs: set[tuple[str, str, str, int]] = set()
        self._by_config: dict[str, list[Entry]] = {}

    def declare(
        self,
        sweep: str,
        config: str,
        seeds: Sequence[int],
        purpose: Purpose = "sweep",
        tested: Tested | None = None,
    ) -> None:
        """Says which seeds a configuration will run on, before any of them does; saying it again changes nothing.

        tested:  what the sweep tests; the first declaration of a sweep stands
        Raises UserError for a seed named twice, for other seeds than the sweep declared before, and when a
        confirmation names a seed on which the configuration has started.
        """
        if len(set(seeds)) < len(seeds):
            raise UserError(f"seeds {list(seeds)} name one twice; one seed run twice is one piece of evidence")
        with self._locked():
            before = self._declared.get((sweep, config))
            if before is not None and before != list(seeds):
                raise UserError(f"sweep '{sweep}' declared seeds {before} for {config}; it cannot change them now")
            if before is not None:
                return
            started = {entry["seed"] for entry in self._of(config) if entry["event"] == "started"}
            if purpose == "confirm" and started & set(seeds):
                raise UserError(f"seeds {_listed(started & set(seeds))} are not fresh: {config} has run on them")
            said = {} if tested is None else {"tested": asdict(tested)}
            added = self._append(
                event="declared", sweep=sweep, config=config, seeds=list(seeds), purpose=purpose, **said
            )
        if not added:
            self.declare(sweep, config, seeds, purpose, tested)

    def start(self, sweep: str, config: str, seed: int) -> None:
        """A run begins; going on after an interruption is no second run. Raises UserError for an undeclared seed."""
        with self._locked():
            if seed not in self._declared.get((sweep, config), ()):
                raise UserError(f"seed {seed} of {config} was never declared by sweep '{sweep}'")
            known = ("started", sweep, config, seed) in self._runs
            added = known or self._append(event="started", sweep=sweep, config=config, seed=seed)
        if not added:
            self.start(sweep, config, seed)

    def end(self, sweep: str, config: str, seed: int, status: str, scored: bool = True) -> None:
        """A run has its record; the first outcome stands, but a score counts though the run failed before.

        scored:  whether the record holds a score: a sweep without any has compared nothing
        """
        with self._locked():
            known = ("ended", sweep, config, seed) in self._runs
            known = known or (not scored and ("failed", sweep, config, seed) in self._runs)
            said = {} if scored else {"scored": False}
            added = known or self._append(event="ended", sweep=sweep, config=config, seed=seed, status=status, **said)
        if not added:
            self.end(sweep, config, seed, status, scored)

    def entries(self) -> Sequence[Entry]:
        """All entries in order, of a chain that holds. Raises StoreError naming the first line that does not."""
        if self._bucket is None:
            return self._read()
        with self._locked():
            return self._entries

    def _read(self) -> Sequence[Entry]:
        stamp = self._stamp()
        if stamp is not None and stamp == self._read_at:
            return self._entries
        self._read_at = None
        newest = self._newest_line()  # before the lines: others may append meanwhile
        if not self.path.exists():
            self._forget()
            self._demand(newest)
            return []
        known = self.path.stat()
        if known.st_size < self._read_bytes or known.st_ino != self._inode:
            self._forget()
            self._inode = known.st_ino
        with self.path.open("rb") as file:
            file.seek(self._read_bytes)
            *lines, _torn = file.read().split(b"\n")
        for line in lines:
            self._take(line)
        self._demand(newest)
        self._read_at = stamp
        return self._entries

    def _stamp(self) -> object:
        """Differs after every change of the two files; None without them."""
        try:
            both = self.path.stat(), self._head.stat()
        except OSError:
            return None
        return [(known.st_ino, known.st_ctime_ns, known.st_size) for known in both]

    def _newest_line(self) -> tuple[int, str]:
        """Number and hash of the newest line that was written, if it was written; UNREADABLE if that is not known."""
        if not self._head.exists():
            return 0, FIRST
        with self._head.open("rb") as file:
            written = HEAD_PATTERN.fullmatch(file.read(LONGEST_HEAD_BYTES))
        return (int(written[1]), written[2].decode()) if written else UNREADABLE

    def _demand(self, newest: tuple[int, str]) -> None:
        """Raises StoreError unless the chain holds the newest line that was written."""
        number, digest = newest
        head_lost = newest == UNREADABLE or (len(self._entries) > 1 and not self._head.exists())
        if head_lost or self._hashes[number : number + 1] != [digest]:
            written = "an unknown number of" if head_lost else number
            raise StoreError(
                f"{self.path}: {written} lines of the seed ledger were written, {len(self._entries)} are there, so "
                f"it is unknown which seeds were run. Restore it and {HEAD} from a copy, or begin a new store"
            )

    def _take(self, line: bytes) -> None:
        entry = self._next_entry(line)
        if entry["event"] == "declared":
            self._declared[entry["sweep"], entry["config"]] = entry["seeds"]
        else:
            event = entry["event"] if shows_a_score(entry) else "failed"
            self._runs.add((event, entry["sweep"], entry["config"], entry["seed"]))
        self._entries.append(entry)
        self._by_config.setdefault(entry["config"], []).append(entry)
        self._read_bytes += len(line) + 1
        self._hashes.append(hashlib.sha256(line).hexdigest())

    def _next_entry(self, line: bytes) -> Entry:
        """The entry of the line that comes next. Raises StoreError for every other content."""
        try:
            entry = parse_json(line)
        except ValueError:
            entry = None
        if not _is_entry(entry) or entry["previous"] != self._hashes[-1] or b"\n" in line:
            raise StoreError(
                f"{self.path}:{len(self._entries) + 1}: the chain of the seed ledger is broken here: a line was "
                "changed, removed or added by hand, so it is unknown which seeds were run"
            )
        return entry

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Nobody else appends meanwhile, and everything that is there has been read."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with locks.holding(self.path.with_suffix(".lock")):
            self._read()
            if self._bucket is not None:
                self._fetch(self._bucket)
            yield

    def _fetch(self, bucket: Bucket) -> None:
        """Lines that other machines added: the bucket holds an object for each."""
        wanted = 1
        while True:
            keys = [_key(len(self._entries) + number) for number in range(1, wanted + 1)]
            line_of = bucket.read_all(keys)
            lines = [line_of[key] for key in itertools.takewhile(line_of.__contains__, keys)]
            for line in lines:
                self._write(line)
            if len(lines) < wanted:
                return
            wanted = min(2 * wanted, MOST_LINES_AT_ONCE)

    def _append(self, **entry: Any) -> bool:
        """One line more. Returns whether it was added: if another machine was first, all is to be looked at anew."""
        line = json.dumps(entry | {"at": now(), "previous": self._hashes[-1]}).encode()
        if self._bucket is not None and not self._bucket.create(_key(len(self._entries) + 1), line):
            return False
        self._write(line)
        return True

    def _write(self, line: bytes) -> None:
        """A torn last line, of a writer that was killed, makes way."""
        self._next_entry(line)  # a foreign one, of a bucket, is not written
        with self.path.open("r+b" if self.path.exists() else "xb") as file:
            file.seek(self._read_bytes)
            file.truncate()
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._take(line)
        head = f"{len(self._entries)} {self._hashes[-1]}\n".encode()
        replace_synced(self._head, head, aside=self._head.with_suffix(".aside"))

    def _of(self, config: str) -> Sequence[Entry]:
        return self._by_config.get(config, ())

    def outcomes(self, configs: Iterable[str]) -> list[SeedOutcome]:
        """Every seed ever declared for these configurations, in any sweep, with what became of it."""
        self.entries()
        outcomes: dict[tuple[str, str, int], SeedOutcome] = {}
        for entry in itertools.chain.from_iterable(self._of(config) for config in dict.fromkeys(configs)):
            if entry["event"] == "declared":
                for seed in entry["seeds"]:
                    key = entry["sweep"], entry["config"], seed
                    outcomes[key] = SeedOutcome(*key, entry.get("purpose", "sweep"), "declared")
            else:
                key = entry["sweep"], entry["config"], entry["seed"]
                known = outcomes.get(key, SeedOutcome(*key, "sweep", ""))
                outcomes[key] = replace(known, outcome=entry.get("status", "started"))
        return list(outcomes.values())

    def objection(self, sweep: str, config: str, recorded: Collection[int] = ()) -> str:
        """Why the seeds of a configuration cannot be used for a test in this sweep, or the empty string.

        recorded:  seeds that have a record: one that was never declared does not count
        The declared ones were chosen when outcomes were known (the best k of n) if some had ended before, and others
        that had are left out. Where no run of the configuration had a score by then, there was nothing to choose by.
        """
        declared, ended = self._known_before(sweep, config)
        if stray := set(recorded) - declared:
            return f"seed {_listed(stray)} of {config} has a record, but no declaration in the seed ledger"
        _, scored = self._known_before(sweep, config, scored=True)
        if scored and _picks(declared, ended):
            return (
                f"the seeds of {config} were chosen after their outcomes were known: it had run on {_listed(ended)}, "
                f"of which only {_listed(declared & ended)} are counted"
            )
        return ""

    def foreseen(self, config: str, seeds: Sequence[int]) -> str:
        """What `objection` would be, if these seeds were declared now, and which seeds would avoid it."""
        _, ended = self._known_before("", config)
        _, scored = self._known_before("", config, scored=True)
        if not scored or not _picks(set(seeds), ended):
            return ""
        first = max(ended | set(seeds)) + 1
        fresh = ",".join(str(first + place) for place in range(len(seeds)))
        counted = _listed(set(seeds) & ended)
        return (
            f"it has run on seeds {_listed(ended)}, of which this sweep would count only {counted}; "
            f"count all of them, --seeds {_listed(ended | set(seeds)).replace(' ', '')}, or none, --seeds {fresh}"
        )

    def known_beforehand(self, sweep: str, config: str) -> bool:
        """Whether the score of a declared seed was known when it was declared, from another sweep."""
        declared, scored = self._known_before(sweep, config, scored=True)
        return bool(scored & declared)

    def _known_before(self, sweep: str, config: str, scored: bool = False) -> tuple[set[int], set[int]]:
        """The seeds that the sweep declared for the configuration, and those that had ended by then, in any sweep.

        scored:  those that had ended with a score
        """
        self.entries()
        ended: set[int] = set()
        for entry in self._of(config):
            if entry["event"] == "declared" and entry["sweep"] == sweep:
                return set(entry["seeds"]), ended
            if entry["event"] == "ended" and (shows_a_score(entry) or not scored):
                ended.add(entry["seed"])
        return set(), ended


def ledger_of(store: Path) -> Ledger:
    """The ledger of a store, to be read: the same one for the whole process, which reads only what was added."""
    return _ledger_at(Path(store).absolute())


_ledger_at = cache(Ledger)


def _is_entry(entry: Any) -> bool:
    """Whether it has what every entry of its kind has; others may be added."""
    if not isinstance(entry, dict) or not all(isinstance(entry.get(name), str) for name in NAMES):
        return False
    if not all(isinstance(entry.get(name, ""), str) for name in ("purpose", "status")):
        return False
    seeds = entry.get("seeds") if entry["event"] == "declared" else [entry.get("seed")]
    return isinstance(seeds, list) and all(isinstance(seed, int) for seed in seeds)


def _key(number: int) -> str:
    """The object of a line in a bucket. It is only ever created, so of two machines at once one adds the line."""
    return f"seed_ledger/{number:08}.json"


def _picks(declared: Collection[int], ended: Collection[int]) -> bool:
    """Whether some of the seeds that had ended are counted and others are not."""
    return bool(set(declared) & set(ended) and set(ended) - set(declared))


def _listed(seeds: Collection[int]) -> str:
    return ", ".join(str(seed) for seed in sorted(seeds))
