"""Every reader of files and arguments on mutated inputs: each ends in its own error, soon and in little memory.

Short in the default tests; long by `make fuzz`:

    python -m tests.faults.readers --inputs 10000 --seed 0
"""

from __future__ import annotations

import argparse
import base64
import lzma
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from orchestrator.commands.options import parse_seeds
from orchestrator.space.load_space import load_space
from orchestrator.sweep.imported import find_import
from orchestrator.sweep.sweep import find_sweep
from orchestrator.sweep.sweep_files import read_record
from results.rows.learning_curve import read_curve
from results.rows.machines import events_of, read_machines
from results.submission.acceptance_claim import acceptance_claim
from results.submission.manifest import FILE as CLAIMS
from results.submission.package_folder import ScoredText, result_of, write_package
from results.submission.verify_folder import verify_folder
from results.verdicts.seed_ledger import FILE, Ledger
from tests.faults.corruptions import IMPORT, NAME, finished_store
from tests.results.submission.made_up_package import ABOUT, made_up_runs
from trainer.audit.static_audit import audit_file
from trainer.data.shards import read_shard, write_split
from trainer.data.tokenizer import read_model
from trainer.quant.artifact import decode_artifact, encode_artifact
from trainer.quant.lineage_files import read_lineage_file
from trainer.scoring.ledger_summary import order_complaints
from trainer.spec.errors import UserError
from trainer.spec.load import load_preset, parse_overrides, with_values
from trainer.spec.recipe_text import recipe_text

MOST_S, MOST_GROWTH_KB = 2.0, 500_000
TOKENS = (
    b"1e400", b"9" * 400, b"-1", b"0", b"null", b"true", b"nan", b".inf", b"1e-400", b"{}", b"[]", b"''", b"\x00",
    b"\xff", b"[" * 3000, b"{a: " * 500, b"&a [*a, *a]", b"*a", b"!!python/object:os.system", b"\n", b"\t", b": ",
    b"- ", b"=", b",", b"18446744073709551616", b"2025-01-01", b"\xe2\x80\xae", b"\x1b[31m", b"checksum",
    b"../../etc/passwd", b"x" * 5000, b'"\\ud800"', b"\\udc41",
)  # fmt: skip
"""What is put in place of a word or number."""


@dataclass(frozen=True)
class Reader:
    """One way that foreign bytes come in."""

    sample: bytes
    """A valid input."""
    read: Callable[[bytes], object]


def readers_of(folder: Path) -> dict[str, Reader]:
    """Every reader by name; their files lie in this folder, in which a finished store is made."""
    store = finished_store(folder)
    sweep = store / "sweeps" / NAME

    def at(path: Path, read: Callable[[], object]) -> Reader:
        def written(content: bytes) -> object:
            path.chmod(0o644)
            path.write_bytes(content)
            try:
                return read()
            finally:
                path.write_bytes(sample)

        sample = path.read_bytes()
        return Reader(sample, written)

    tiny = load_preset("tiny").recipe
    preset, shard = folder / "preset.yaml", write_split(folder / "shards", "train", [np.arange(300) % 900], 1, 1024)[0]
    preset.write_text(recipe_text(tiny, "sample", "tests"))
    lineage = folder / "weights.pt"
    torch.save({"a": torch.zeros(4, 4), "b": torch.ones(3)}, lineage)
    curve = min(store.glob("stages/train/*/curve.csv"))
    record = min((sweep / "runs").glob("*.json"))
    tokenizer = Path(__file__).parents[1] / "data" / "fineweb_8192_bpe.model"

    def set_value(text: bytes) -> object:
        return with_values(tiny, parse_overrides([text.decode("utf-8", "replace")]), "--set")

    artifact = encode_artifact({"blocks.0.w": torch.randn(8, 8)}, tiny.model, 1024, tiny.quantization)
    return {
        "space": at(store / "small.yaml", lambda: load_space(store / "small.yaml")),
        "preset": at(preset, lambda: load_preset(str(preset))),
        "set": Reader(b"ttt.lr=1e-3", set_value),
        "seeds": Reader(b"1,2,1337", lambda text: parse_seeds(text.decode("utf-8", "replace"))),
        "shard": at(shard, lambda: read_shard(shard, 1024)),
        "tokenizer": Reader(tokenizer.read_bytes(), read_model),
        "artifact": Reader(artifact, decode_artifact),
        "lineage file": at(lineage, lambda: read_lineage_file(lineage)),
        "record": at(record, lambda: (read_record(record), find_sweep(store, NAME).readable_records())),
        "ledger": at(store / FILE, lambda: Ledger(store).outcomes(["a"])),
        "journal": at(sweep / "journal.jsonl", lambda: find_sweep(store, NAME).asked()),
        "machines": at(sweep / "machines.jsonl", lambda: (list(events_of(sweep)), read_machines(sweep))),
        "curve": Reader(curve.read_bytes(), lambda text: read_curve(text, "train")),
        "import": at(store / "sweeps" / IMPORT / "import.jsonl", lambda: find_import(store, IMPORT)),
        **foreign_readers(folder),
    }


def foreign_readers(folder: Path) -> dict[str, Reader]:
    """What reads scripts and folders that other people made: the static audit, also of wrappers, and `verify`."""
    script = (
        Path(__file__).parents[1] / "data" / "audit_scripts" / "illegal" / "learns_all_documents_in_a_first_phase.py"
    )
    source = script.read_bytes()
    wrapper = b"import lzma,base64\nexec(lzma.decompress(base64.b85decode(%r)))\n" % base64.b85encode(
        lzma.compress(source)
    )

    def audit(content: bytes) -> object:
        (folder / "train_gpt.py").write_bytes(content)
        return audit_file(folder / "train_gpt.py")

    text, runs = folder / "fineweb_val_000000.bin", made_up_runs()
    text.write_bytes(bytes(2048))
    claim = acceptance_claim("pg-written", {str(run.seed): result_of(run, 0) for run in runs}, "", ())
    recipe, scored = load_preset("tiny", {"seed": 1}).recipe, ScoredText(10, 20, 1, [text], b"model")
    write_package(folder / "submission", recipe, runs, scored, ABOUT, claim)

    def verify(name: str) -> Reader:
        path = folder / "submission" / name
        sample = path.read_bytes()

        def verified(content: bytes) -> object:
            path.write_bytes(content)
            try:
                return verify_folder(folder / "submission", score=False, order_of=order_complaints)
            finally:
                path.write_bytes(sample)

        return Reader(sample, verified)

    return {
        "audited script": Reader(source, audit),
        "audited wrapper": Reader(wrapper, audit),
        "claims of a submission": verify(CLAIMS),
        "script of a submission": verify("train_gpt.py"),
    }


def mutated(sample: bytes, dice: random.Random) -> bytes:
    """The sample with one to four changes: flipped bits, cut, copied and moved parts, words exchanged for TOKENS."""
    content = bytearray(sample)
    for _ in range(dice.choice((1, 1, 2, 4))):
        at = dice.randrange(len(content) + 1)
        end = min(len(content), at + dice.choice((1, 2, 8, 64, 1000)))
        kind = dice.randrange(6)
        if kind == 0 and content:
            content[min(at, len(content) - 1)] ^= 1 << dice.randrange(8)
        elif kind == 1:
            del content[at:]
        elif kind == 2:
            content[at:at] = content[at:end] * dice.choice((1, 3, 50))
        elif kind == 3:
            del content[at:end]
        elif kind == 4:
            content[at:at] = dice.choice(TOKENS)
        else:
            words = [place for place in range(len(content)) if content[place : place + 1] in b" =:,\n"][:2000]
            begin = dice.choice(words) + 1 if words else at
            stop = next((p for p in range(begin, min(len(content), begin + 80)) if content[p] in b" ,\n}]"), begin)
            content[begin:stop] = dice.choice(TOKENS)
    return bytes(content)


def fuzz(readers: Mapping[str, Reader], inputs: int, seed: int) -> tuple[Counter[str], list[str]]:
    """So many mutated inputs, the readers in turn; counts of their ends, and complaints with the input's start."""
    dice, counts, complaints = random.Random(seed), Counter[str](), list[str]()
    names = list(readers)
    for reader in readers.values():
        reader.read(reader.sample)
    for number in range(inputs):
        name = names[number % len(names)]
        content = mutated(readers[name].sample, dice)
        before_kb, started_s, fault = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time(), ""
        try:
            readers[name].read(content)
            end = "read"
        except UserError:
            end = "refused"
        except BaseException as other:  # whatever else it is, a person would see a traceback
            end, fault = "fault", f"{type(other).__name__}: {other}"
        used_s = time.process_time() - started_s
        grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
        if used_s > MOST_S or grown_kb > MOST_GROWTH_KB:
            fault = f"{used_s:.1f} s, {grown_kb / 1e3:.0f} MB"
        counts[f"{name}: {end}"] += 1
        if fault:
            complaints.append(f"{name}, input {number}: {fault[:300]}: {content[:80]!r}")
            print(complaints[-1], file=sys.stderr)
    return counts, complaints


def main() -> int:
    """Runs the campaign and prints what it did."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--inputs", type=int, default=10_000)
    options.add_argument("--seed", type=int, default=0)
    asked = options.parse_args()
    folder = Path(tempfile.mkdtemp())
    try:
        counts, complaints = fuzz(readers_of(folder), asked.inputs, asked.seed)
    finally:
        shutil.rmtree(folder)
    for name, count in sorted(counts.items()):
        print(f"{name}: {count}")
    print("\n".join(complaints) or "no complaint")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
