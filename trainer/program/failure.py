"""Why a program's stage counts as failed, in words, with the end of its log."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from trainer.program.process import End
from trainer.program.reader import ORDER_MARK, encoding_of, plain
from trainer.program.sources import folder_of_module
from trainer.spec.errors import did_you_mean
from trainer.spec.printable import printable
from trainer.spec.program import Program

TOLD = re.compile(r"([A-Za-z_][\w./-]{0,60})['\"]?\s*[:=]\s*[-+]?(?:\d|\.\d|nan|inf)")
"""A name with a number: 'val_acc: 0.91', 'loss=2', of JSON too."""
SPECIAL = re.compile(r"[\\^$.|?*+()\[\]{}]")
"""What a regular expression reads as a sign; `re.escape` escapes spaces too, which nobody would write."""
NO_NAMES = ("warning", "error", "line", "http", "https", "wandb")
MOST_NAMES = 6
TAIL_LINES = 12
TAIL_BYTES = 16_384
MOST_WIDTH = 200
MOST_ABOVE = 2
"""Folders above the script's that are looked through for what it misses."""
MISSING = (
    re.compile(r"No such file or directory: ['\"]([^'\"]+)['\"]"),
    re.compile(r"can't open file ['\"]([^'\"]+)['\"]"),
    re.compile(r"([^\s'\":]+): No such file or directory"),
)
WORK_FOLDER = re.compile(r"/[^\s'\"]*/stages/[^\s/'\"]+/\.[0-9a-f]{16}-[^\s/'\"]+/work/")
"""The working folder of a run, which is gone when anybody reads of it."""
ABOVE_WORK_FOLDER = re.compile(r"/[^\s'\"]*/stages/[^\s/'\"]+/\.[0-9a-f]{16}-[^\s/'\"]+/")
"""The folder that it lies in: what a script finds there that looks above its own folder."""
OF_TORCHRUN = re.compile(r"[EW]\d{4} [\d:.]+ +\d+ .*torch/distributed/elastic/multiprocessing/api\.py")
"""Where torchrun begins to tell that a rank ended, which the ranks told better themselves."""
ERROR_LINE = re.compile(
    r"(?:\[rank\d+\]: ?)?(?:[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit)\b|[\w./-]+\.py(?: [\w-]+)*: error: )"
)
ASKS = re.compile(r"^EOFError: EOF when reading a line|getpass\.py(?s:.)*^EOFError$|^Aborted!$", re.MULTILINE)
"""What `input`, `getpass` and click's prompts end with where nobody answers; a bare one is any end of a file."""
ASKS_TERMINAL = re.compile(r"^(?:OSError|termios\.error)\b.*Inappropriate ioctl for device", re.MULTILINE)
NO_MODULE = re.compile(r"No module named ['\"]([^'\"]+)['\"]")
FLAG_WITH_VALUE = re.compile(r"argument (\S+): ignored explicit argument '(?:True|False)'")
NO_ARGUMENT = re.compile(r"unrecognized arguments: (.+)")
WAYS = {"env": "an environment variable", "args": "an argument", "file": "a key of a file"}
NO_VARIABLE = re.compile(r"KeyError: ['\"]([^'\"]+)['\"]")
NEEDS_ARGUMENTS = re.compile(r"the following arguments are required: (.+)")


def tail_of(log: Path, lines: int = TAIL_LINES) -> list[str]:
    """The last lines of a log, printable and not too wide; of a progress bar what it showed last."""
    try:
        with log.open("rb") as file:
            encoding = encoding_of(file.read(2))
            file.seek(max((log.stat().st_size - TAIL_BYTES) // 2 * 2, 0))  # UTF-16 has two bytes a unit
            data = file.read()
    except OSError:
        return []
    text = plain(data.decode(encoding, "replace").removeprefix(ORDER_MARK))
    shown = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in text.split("\n")]
    kept = [ABOVE_WORK_FOLDER.sub("../", WORK_FOLDER.sub("", line)) for line in shown if line.strip()]
    ranks = next((place for place, line in enumerate(kept) if OF_TORCHRUN.match(line)), len(kept))
    kept = (kept[:ranks] or kept)[-lines:]
    return [printable(line)[:MOST_WIDTH] for line in kept]


def failure_words(program: Program, stage: str, end: End, folder: Path, changed: Sequence[Path]) -> str:
    """What went wrong, or the empty string: a limit, the exit status, changed data. Missing scores are no matter of a
    stage, whose output is kept: see `trainer.program.run_program`."""
    if end.reason:
        return f"stage {stage} {end.reason}"
    log = folder.parent / "log.txt"
    if end.status != 0:
        advice = hint(program, folder, log) or hint_of_knobs(program, stage, log)
        return f"stage {stage} {_exit_words(end)}{last_error(log)}{advice}"
    if changed:
        return f"stage {stage} changed {changed[0]}, which it only reads: all runs share it; copy it before writing"
    return ""


def _exit_words(end: End) -> str:
    if end.status is None:
        return "could not be run"
    if end.status >= 0:
        return f"ended with exit status {end.status}"
    try:
        name = signal.Signals(-end.status).name
    except ValueError:
        name = f"signal {-end.status}"
    memory = "; the machine may have run out of memory" if name == "SIGKILL" else ""
    return f"was killed by {name}{memory}"


def last_error(log: Path) -> str:
    """The last line of a traceback, or what argparse says: ': ValueError: bad shape'."""
    for line in reversed(tail_of(log, 60)):
        if ERROR_LINE.match(line.strip()):
            return f": {line.strip()[:MOST_WIDTH]}"
    return ""


def hint(program: Program, folder: Path, log: Path) -> str:
    """What to write in the search space, where the log says what the program missed."""
    text = "\n".join(tail_of(log, 60))
    for pattern in MISSING:
        for found in pattern.findall(text):
            if ".." in Path(found).parts and (there := Path(program.root, found)).exists():
                whole = there.resolve()
                return f"; a run has a folder of its own and nothing above it: name it by its whole path, {whole}"
            if (name := _beside_script(program, folder, found)) is not None:
                return f"; {name} lies beside the script but is not listed: files: [{name}]"
            if above := _above(program, [found]):
                return above
    if ASKS.search(text):
        return "; it asks for input, and a run has none: its standard input is empty"
    if ASKS_TERMINAL.search(text):
        return "; it asks the terminal, and a run has none: its output goes to a log"
    for module in NO_MODULE.findall(text):
        name = f"{module.replace('.', '/')}.py"
        if Path(program.root, name).is_file():
            return f"; {name} lies beside the script but is not listed: files: [{name}]"
        first = module.partition(".")[0]
        if below := folder_of_module(Path(program.root), first, (*program.code, *program.files)):
            return f"; {below}/ lies beside the script, holds {first} and is not listed: files: [{below}]"
        if above := _above(program, [f"{first}.py", first]):
            return above
    if program.seed_key and (found := NO_ARGUMENT.search(text)) and f"--{program.seed_key}=" in found[1]:
        return (
            f"; it takes no --{program.seed_key}: name the knob that takes the seed, seed_key: NAME, or write "
            "seed_key: null where it has none"
        )
    if (found := FLAG_WITH_VALUE.search(text)) and "/--no-" in found[1]:
        return (
            f"; {found[1]} takes no value: write ${{args_on_off_flags}} for ${{args}}, which writes --X for true and "
            "--no-X for false: command: [python, SCRIPT, '${args_on_off_flags}']"
        )
    if found:
        return (
            f"; {found[1]} takes no value: write ${{args_no_boolean_flags}} for ${{args}}, which names true ones and "
            "leaves out false ones: command: [python, SCRIPT, '${args_no_boolean_flags}']"
        )
    return ""


def hint_of_knobs(program: Program, stage: str, log: Path) -> str:
    """What to write where the program missed a knob that it is given in another way, or not in this stage."""
    text = "\n".join(tail_of(log, 60))
    by_variable = NO_VARIABLE.findall(text)
    required = " ".join(NEEDS_ARGUMENTS.findall(text))
    by_argument = [word.lstrip("-") for word in re.split(r"[,/\s]+", required) if word]
    keys = {program.names.get(key, key): key for key in program.values}
    for way, named in (("env", by_variable), ("args", by_argument)):
        for name in named:
            if name in keys and keys[name] not in program.knobs_of(stage):
                return f"; stage {stage} is not given {name}: add {keys[name]} to its `reads`"
            if program.knobs_by != way and (name in keys or name.lower() == (program.seed_key or "").lower()):
                return f"; {name} is given as {WAYS[program.knobs_by]}: write pass: {way} to give it as {WAYS[way]}"
    return ""


def hint_of_names(metric: str, log: Path) -> str:
    """How to read a metric that was not found: the pattern of a line that has it, else the names that have numbers."""
    beside = re.compile(rf"(?<![\w./-]){re.escape(metric)}([^\w.+-]{{1,20}})[-+]?\.?\d")
    if match := next(filter(None, map(beside.search, reversed(tail_of(log, 60)))), None):
        pattern = SPECIAL.sub(r"\\\g<0>", metric + match[1]) + "(NUMBER)"
        return f"; it stands in '{match.string.strip()[:80]}': metrics: {{{metric}: '{pattern}'}}"
    printed = [name for line in tail_of(log, 60) for name in TOLD.findall(line)]
    names = [
        name for name, _ in Counter(name for name in printed if name.lower() not in NO_NAMES).most_common(MOST_NAMES)
    ]
    near = did_you_mean(metric, names)
    return f"{near}; it printed numbers beside: {', '.join(names)}" if names else ""


def hint_of_encoding(log: Path) -> str:
    """What to write where the output is no UTF-8, and does not begin as UTF-16 does."""
    if not any("\\x00" in line for line in tail_of(log)):
        return ""
    return "; it holds zero bytes, as UTF-16 does: let the program print UTF-8"


def _beside_script(program: Program, folder: Path, named: str) -> str | None:
    """The path below the script's folder of a file that the program looked for, if it lies there and is not listed."""
    path = Path(named)
    if path.is_absolute():
        if not path.is_relative_to(folder):
            return None
        path = path.relative_to(folder)
    relative = path.as_posix()
    there = Path(program.root, relative)
    known = relative in program.files or relative in program.code
    return relative if there.exists() and not known and ".." not in path.parts else None


def _above(program: Program, names: Sequence[str]) -> str:
    """What to write where one of these paths lies in a folder above the script's, which a run does not see."""
    root = Path(os.path.normpath(program.root))
    for folder in root.parents[:MOST_ABOVE] if program.script else ():
        for name in names:
            if not Path(name).is_absolute() and ".." not in Path(name).parts and (folder / name).exists():
                script = (root / program.script).relative_to(folder)
                return (
                    f"; {name} lies in {folder}, above the script, which runs in its own folder: let it run from there "
                    f"by a search space file in {folder} that has no program:, but command: [python, {script}, "
                    "'${args}']"
                )
    return ""


def with_log(fault: str, log: Path, kept: Path) -> str:
    """The fault, then the end of the log, and where all of it is kept."""
    lines = tail_of(log)
    if not lines:
        return f"{fault}; it printed nothing"
    return "\n".join([fault, *(f"  | {line}" for line in lines), f"  whole log: {kept.resolve()}"])
