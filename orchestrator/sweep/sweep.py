"""A sweep's folder: the search space, the configurations asked, the records of its runs. All that a restart needs.

    STORE/sweeps/NAME/space.yaml      the search space as it was given
    STORE/sweeps/NAME/journal.jsonl   the resolved search space, then each configuration in the order it was asked
    STORE/sweeps/NAME/runs/ID.json    one record per run, written once
    STORE/sweeps/NAME/short/ID.json   the same of short runs, where `stopping` asks for any

The journal is only ever appended to, by one driver at a time; any process may read it.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import Timeout

from orchestrator.search.state import SweepState
from orchestrator.space.configuration import Configuration, Outcome, Precedent
from orchestrator.space.search_space import SearchSpace
from orchestrator.sweep.lost_records import demand_undamaged, lost_records, run_ids
from orchestrator.sweep.sharing import driven_elsewhere, driving, fetch_sweeps, journal_stands, set_aside
from orchestrator.sweep.space_text import as_yaml, with_terms_of_0_1_0
from orchestrator.sweep.sweep_files import ReadWhenNeeded, journal_entries, read_record, read_records, readable_records
from results.rows.kept import KeptWhileUnchanged
from results.rows.layout import (
    DRIVER_LOCK,
    DRIVER_PID,
    FAILED,
    JOURNAL,
    RUNS,
    SHORT,
    SPACE_FILE,
    SWEEPS,
    count_file,
    import_names,
    is_import,
    is_there,
    record_file,
    set_aside_file,
    sweep_folder,
)
from results.rows.lines import append_line, cut_torn_line
from results.stats.many_against_one import Correction
from results.verdicts.seed_ledger import Ledger, Purpose, ledger_of
from results.verdicts.terms import Blocks
from trainer.spec.checked_json import with_checksum
from trainer.spec.environment import commit
from trainer.spec.errors import StoreError, did_you_mean
from trainer.spec.record import NAME_PATTERN, Record, now
from trainer.store import locks
from trainer.store.atomic_write import write_once, write_synced
from trainer.store.mirror import fetch_file, publish_file, store_name, store_option
from trainer.store.unreadable import listed

LOCK_TIMEOUT_S = 0.5
"""Seconds to wait for a lock that another process may hold briefly to test it."""
DIGEST_KEY = "question_digest"
"""Key of the space's digest in a journal; version 0.1.0 wrote this name, and its sweeps must open."""


@dataclass(frozen=True)
class Sweep:
    """A sweep on disk: its search space, its journal, its records."""

    name: str
    folder: Path
    space: SearchSpace
    """The search space that the sweep was created with; it never changes."""
    space_digest: str
    """`SearchSpace.identity_digest` when the sweep was created."""
    sweep_seed: int
    lag: int
    created_at: str
    commit: str
    purpose: Purpose = "sweep"
    precedents: tuple[Precedent, ...] = ()
    """Finished configurations of the `warm_start` sweeps when this one was created; its search uses no later ones."""
    blocks: Blocks = "artifact"
    """What pairs the runs of two configurations, decided when the sweep was created; in 0.1.0 always the artifact."""
    blocks_because: str = "as in 0.1.0, which made this sweep"
    correction: Correction = "dunnett"
    """How p-values may be corrected, see `Terms`; in 0.1.0 always by Holm."""
    tested_space: str = ""
    """Digest of what is tested, by which attempts are counted; of a confirmation that of its source."""
    space_sha256: str = ""
    """Checksum of the search space file; empty where an earlier version made the sweep."""
    note: str = ""
    """Message for the user on how this sweep was found or created; empty when there is none."""

    @property
    def preset(self) -> str:
        """The preset of the search space."""
        return self.space.preset

    @property
    def store(self) -> Path:
        """The store that the sweep lies in."""
        return self.folder.parents[1]

    def command(self, verb: str, *options: str) -> str:
        """The command line, to be pasted, that does this with the sweep: 'orchestrator resume ttt --store s3://b/p'."""
        return " ".join(["orchestrator", verb, self.name, *options]) + store_option(self.store)

    @cached_property
    def ledger(self) -> Ledger:
        """The seed ledger of the store; read once, then line by line as it grows."""
        return ledger_of(self.store)

    def state(self) -> SweepState:
        """The state that follows from its journal and records, as they are now.

        Its records are read when they are needed: StoreError for one that cannot be read or was lost.
        """
        return SweepState(self.space, self.asked(), ReadWhenNeeded(self._all_records, self._count_records))

    def _all_records(self) -> dict[str, Record]:
        demand_undamaged(self.lost_records())
        return {**self.records(), **self.short_records()}

    def _count_records(self) -> int:
        demand_undamaged(self.lost_records())
        return len({run_id for folder in (RUNS, SHORT) for run_id in run_ids(self.folder / folder)})

    def lost_records(self) -> list[str]:
        """A line for each record that is missing though its run ended."""
        return lost_records(self.folder, len(self.asked()) * len(self.space.seeds), self.ledger)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the sweep for one driver. Raises StoreError naming another one. A killed driver holds no lock."""
        pid_file = self.folder / DRIVER_PID
        try:
            lock = locks.acquire(self._lock_path, LOCK_TIMEOUT_S)
        except Timeout:
            who = pid_file.read_text().strip() if pid_file.exists() else "another process"
            raise StoreError(
                f"sweep '{self.name}' is being driven by {who}; wait for it, or stop it there with Ctrl-C; "
                f"to watch it: {self.command('status')}"
            ) from None
        try:
            pid_file.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
            cut_torn_line(self.folder / JOURNAL)
            with driving(self.folder):
                yield
        finally:
            pid_file.unlink(missing_ok=True)
            lock.release()

    def is_locked(self) -> bool:
        """Whether a driver is at work on it now."""
        return locks.is_held(self._lock_path) or driven_elsewhere(self.folder)

    @property
    def _lock_path(self) -> Path:
        return self.folder / DRIVER_LOCK

    def asked(self) -> list[Configuration]:
        """Every configuration asked so far, the baseline first."""
        path = self.folder / JOURNAL
        return list(_ASKED.get(path, (path, count_file(path)), lambda: _asked(path)))

    def append(self, configuration: Configuration) -> None:
        """Writes one more configuration to the journal, synced to disk. Only under the `lock`."""
        append_line(self.folder / JOURNAL, asdict(configuration))
        publish_file(self.folder / JOURNAL)
        self.declare(configuration)

    def declare(self, configuration: Configuration) -> None:
        """Declares the seeds of a configuration in the seed ledger; repeating it changes nothing."""
        tested = self.space.tested(self.tested_space)
        self.ledger.declare(self.name, configuration.id, self.space.seeds, self.purpose, tested)

    def set_aside_failed(self) -> int:
        """Moves the records of failed runs out of the way, so that the runs are done again. Only under the `lock`."""
        failed = [
            (run_id, self.record_path(run_id, short=short))
            for short, records in ((False, self.records()), (True, self.short_records()))
            for run_id, record in records.items()
            if record.status == "failed"
        ]
        folder = self.folder / FAILED
        folder.mkdir(exist_ok=True)
        for run_id, path in failed:
            aside = folder / set_aside_file(run_id)
            path.replace(aside)
            set_aside(path, aside)
        return len(failed)

    def record_path(self, run_id: str, short: bool = False) -> Path:
        """Path of a run's record, which is written once; short runs steer the search and are no rows of the table."""
        return self.folder / (SHORT if short else RUNS) / record_file(run_id)

    def record(self, run_id: str) -> Record | None:
        """A run's record, or None while it has none. Raises StoreError if it cannot be read."""
        paths = (self.record_path(run_id, short=short) for short in (False, True))
        return next((read_record(path) for path in paths if path.exists() or fetch_file(path)), None)

    def records(self) -> dict[str, Record]:
        """The records of finished runs by run id. Raises StoreError for one that cannot be read."""
        return read_records(self._record_paths(RUNS))

    def short_records(self) -> dict[str, Record]:
        """The records of short runs by run id."""
        return read_records(self._record_paths(SHORT))

    def readable_records(self) -> tuple[dict[str, Record], list[str]]:
        """All records that can be read, short runs' too, and why the others cannot; those that were lost among them."""
        readable, faults = readable_records([*self._record_paths(RUNS), *self._record_paths(SHORT)])
        return readable, [*faults, *self.lost_records()]

    def _record_paths(self, folder: str) -> list[Path]:
        return listed(self.folder / folder, ".json")


def open_sweep(
    store: Path,
    space: SearchSpace,
    name: str | None = None,
    *,
    sweep_seed: int = 0,
    lag: int = 1,
    purpose: Purpose = "sweep",
    precedents: Callable[[], Sequence[Precedent]] = tuple,
    tested_space: str = "",
) -> Sweep:
    """The sweep of this search space under this name, opened or created.

    sweep_seed, lag, purpose, precedents, tested_space:  of a new sweep; one that exists keeps its own
    If the name belongs to a sweep of another search space, the new one is NAME-2, NAME-3, ... and `note` says why.
    """
    wanted = name or space.name
    if not re.fullmatch(NAME_PATTERN, wanted):
        raise StoreError(f"'{wanted}' cannot name a sweep: it names a folder; use letters, digits, '.', '_' or '-'")
    taken = ""
    fetch_sweeps(store)
    tested = space.tested(tested_space).space
    for candidate in _names_from(wanted):
        folder = sweep_folder(store, candidate)
        if is_import(store, candidate):
            taken = taken or f"the name '{candidate}' belongs to runs that were imported"
            continue
        named = space.model_copy(update={"name": candidate})
        created = _create(folder, named, sweep_seed, lag, purpose, precedents, tested)
        sweep = _read(folder)
        difference = sweep.space.difference(space)
        if not difference:
            return replace(sweep, note=_note(sweep, space, taken, created))
        taken = taken or f"the search space differs from that of sweep '{candidate}' in: {difference}"
    raise AssertionError("unreachable")


def sweep_of_space(store: Path, space: SearchSpace) -> Sweep | None:
    """The sweep that `open_sweep` would continue, or None if it would create one."""
    known = _names(store)
    for candidate in _names_from(space.name):
        if is_import(store, candidate):
            continue
        if candidate not in known and not is_there(sweep_folder(store, candidate) / RUNS):
            return None
        sweep = _read(sweep_folder(store, candidate))
        if not sweep.space.difference(space):
            return sweep
    raise AssertionError("unreachable")


def find_sweep(store: Path, name: str) -> Sweep:
    """The sweep of this name. Raises StoreError offering the nearest name there is."""
    known = _names(store)
    if name not in known and is_import(store, name):
        raise StoreError(
            f"sweep '{name}' was imported and is only read: table, compare, report, plan, reproduce, first-step"
        )
    if name not in known and re.fullmatch(NAME_PATTERN, name) and (folder := sweep_folder(store, name)).is_dir():
        return _read(folder)
    if name not in known:
        start = f"there is none yet; start one: orchestrator sweep FILE{store_option(store)}"
        known = sorted([*known, *import_names(store)])
        listing = f"known: {', '.join(known)}" if known else start
        raise StoreError(f"{store_name(store)}: no sweep '{name}'{did_you_mean(Path(name).name, known)}; {listing}")
    return _read(sweep_folder(store, name))


def list_sweeps(store: Path) -> list[Sweep]:
    """All sweeps of a store that can be read, oldest first; `damaged_sweeps` names the others."""
    sweeps = []
    for name in _names(store):
        with contextlib.suppress(StoreError):
            sweeps.append(_read(sweep_folder(store, name)))
    return sorted(sweeps, key=lambda sweep: (sweep.created_at, sweep.name))


def damaged_sweeps(store: Path) -> dict[str, str]:
    """The sweeps whose journal cannot be read, by name, and why."""
    faults = {}
    for name in sweep_names(store):
        try:
            _read(sweep_folder(store, name))
        except StoreError as fault:
            faults[name] = str(fault)
    return faults


def _names(store: Path) -> list[str]:
    fetch_sweeps(store)
    return [path.name for path in listed(store / SWEEPS) if is_there(path / JOURNAL, in_closed=True)]


def sweep_names(store: Path) -> list[str]:
    """Folders of sweeps, whether or not they can be read; imports apart."""
    fetch_sweeps(store)
    folders = (path.name for path in listed(store / SWEEPS) if path.is_dir() and re.fullmatch(NAME_PATTERN, path.name))
    return sorted(name for name in folders if not is_import(store, name))


def _names_from(wanted: str) -> Iterator[str]:
    return (wanted if number == 1 else f"{wanted}-{number}" for number in itertools.count(1))


def _create(
    folder: Path,
    space: SearchSpace,
    sweep_seed: int,
    lag: int,
    purpose: Purpose,
    precedents: Callable[[], Sequence[Precedent]],
    tested_space: str,
) -> bool:
    """Writes the journal unless the folder has one. Returns whether this call created the sweep."""
    if (folder / JOURNAL).exists():
        return False
    text = as_yaml(space)
    header = {
        "space_sha256": hashlib.sha256(text).hexdigest(),
        DIGEST_KEY: space.identity_digest(),
        "sweep_seed": sweep_seed,
        "lag": lag,
        "created_at": now(),
        "commit": commit(),
        "purpose": purpose,
        "tested_space": tested_space,
        "precedents": [asdict(precedent) for precedent in precedents()],
        **_blocks_of(folder.parents[1], space),
        "space": space.model_dump(mode="json"),
    }
    if not write_once(folder / SPACE_FILE, text):  # left by a creator that died before it wrote its journal
        write_synced(folder / SPACE_FILE, text)
    return write_once(folder / JOURNAL, with_checksum(json.dumps(header).encode()) + b"\n") and journal_stands(
        folder / JOURNAL
    )


def _blocks_of(store: Path, space: SearchSpace) -> dict[str, str]:
    from orchestrator.sweep.seed_blocks import (
        choose_blocks,  # late: it imports scipy.stats, which nothing else here needs
    )

    choice = choose_blocks(space, list_sweeps(store))
    return {"blocks": choice.blocks, "blocks_because": choice.reason}


_ASKED = KeptWhileUnchanged[Sequence[Configuration]]()
_SWEEPS = KeptWhileUnchanged["Sweep"](most=64)


def _asked(journal: Path) -> list[Configuration]:
    try:
        return [Configuration(**entry) for entry in journal_entries(journal)[1:]]
    except TypeError:
        raise StoreError(f"{journal}: is damaged; move the sweep's folder away to start anew") from None


def _read(folder: Path) -> Sweep:
    path = folder / JOURNAL
    if not is_there(path, in_closed=True):
        raise StoreError(f"{path}: is missing; restore it from a copy, or move the folder away")
    return _SWEEPS.get(path, (path, count_file(path)), lambda: _from_journal(folder))


def _from_journal(folder: Path) -> Sweep:
    try:
        header = journal_entries(folder / JOURNAL)[0]
        given = header.pop("space")
        header.setdefault("correction", "dunnett" if "variance" in given.get("compare", {}) else "holm")
        space = SearchSpace.model_validate_json(json.dumps(with_terms_of_0_1_0(given)))
        precedents = tuple(_precedent(entry) for entry in header.pop("precedents", ()))
        header["space_digest"] = header.pop(DIGEST_KEY)
        return Sweep(name=folder.name, folder=folder, space=space, precedents=precedents, **header)
    except StoreError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(f"{folder / JOURNAL}: cannot be read ({reason}); move the folder away to start anew") from None


def _precedent(entry: Mapping[str, Any]) -> Precedent:
    return Precedent(**{**entry, "outcome": Outcome(**entry["outcome"])})


def _note(sweep: Sweep, space: SearchSpace, taken: str, created: bool) -> str:
    lines = [f"{taken}; this is {'a new sweep' if created else 'sweep'} '{sweep.name}'"] if taken else []
    if sweep.space.compare != space.compare:
        kept = sweep.space.compare
        lines.append(
            f"sweep '{sweep.name}' keeps the thresholds it was created with: "
            f"margin {kept.margin:g} {kept.unit}, alpha {kept.alpha:g}, variance {kept.variance}, blocks {sweep.blocks}"
        )
    return "\n".join(lines)
