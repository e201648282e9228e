"""Kills at random moments, from a master seed; afterwards the table must be the one nobody disturbed.

Short in the default tests; long by `make faults`, which appends its counts to results/LOG.md:

    python -m tests.faults.campaign --inline 70 --ray 30 --calls 60 --program 200 --seed 0 --log results/LOG.md
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import psutil

from orchestrator.analysis.sweep_table import rows_of
from orchestrator.commands.cache import entries
from orchestrator.sweep.sweep import find_sweep
from tests.faults import system_calls
from tests.same_rows import differences
from trainer.data.corpus import read_stdlib
from trainer.store.local import StageStore

NAME = "faults"
OF_TRAINER = """
name: faults
description: Can anything be lost?
preset: tiny
method: tpe
run_cap: 2
seeds: [1, 2]
parameters:
  ttt.mode: {value: score_first}
  ttt.lr: {distribution: log_uniform_values, min: 5e-4, max: 2e-2}
compare: {baseline: {ttt.mode: off}}
"""
SMALL = (
    "budget.train_steps=10",
    "model.num_layers=2",
    "data.train_batch_tokens=2048",
    "data.micro_batches=1",
    "schedule.warmdown_steps=4",
    "averaging.use=none",
    "data.val_bytes=9000",
    "ttt.chunk_tokens=1024",
    "evaluation.diagnose=false",
)
OF_PROGRAM = """
name: faults
description: Can anything of a program's sweep be lost?
program: program.sh
command: [sh, "${program}"]
pass: env
metrics: {val_bpb: 'score (NUMBER)'}
metric: {name: val_bpb, goal: minimize}
stages:
  - {name: train, reads: LR, leaves: model.txt, env: {STAGE: train}}
  - {name: evaluate, reads: [LR, TTT_LR], env: {STAGE: evaluate}}
seeds: [1, 2, 3]
set: {LR: 2}
parameters: {TTT_LR: {values: [1, 2]}}
"""
PROGRAM = """
if [ $STAGE = train ]; then sleep 0.05; echo $LR$SEED > model.txt; exit; fi
read MODEL < model.txt
echo score 1.$((MODEL * 100 + TTT_LR * SEED))
"""


@dataclass(frozen=True)
class Target:
    """What a campaign sweeps: a search space, the options of `sweep`, and the faults that it must survive inline.

    prepared:     stages that every store is given, since they take longest and are the same for all
    write_calls:  writes of one process of the sweep's own program, which are no calls of ours
    """

    space: str
    options: tuple[str, ...]
    num_runs: int
    inline_faults: tuple[str, ...]
    prepared: tuple[str, ...] = ()
    write_calls: int = 0


TRAINER = Target(
    OF_TRAINER,
    ("--no-check", "--snapshot-every-s", "0.2", *(word for value in SMALL for word in ("--set", value))),
    num_runs=6,
    inline_faults=("driver", "driver", "disk full", "disk full at a row", "entry truncated"),
    prepared=("train_text", "val_text"),
)
OWN_PROGRAM = Target(
    OF_PROGRAM,
    (),
    num_runs=9,
    inline_faults=("driver", "driver", "disk full at a row", "entry truncated"),
    write_calls=1,
)
FULL_AT_BYTES = (1_000, 4_000, 100_000, 400_000)
SURVIVED = ("worker", "board", "tune actor")
FATAL = ("raylet", "driver")
TITLES = {
    "worker": "RayTrainWorker",
    "board": "ray::Board",
    "tune actor": "ray::ResourceTrainable",
    "raylet": "raylet/raylet",
}
HEAVY = (
    "orchestrator.cli",
    "orchestrator.run.driver",
    "orchestrator.search.searcher",
    "trainer.stages.pipeline",
    "results.figures.scores",
    "matplotlib.pyplot",
)
PATIENCE_S = 300


class Campaign:
    """Small sweeps in one folder, all of the same search space."""

    def __init__(self, folder: Path, seed: int, text: Path | None = None, target: Target = TRAINER):
        self.folder, self.random, self.target = folder, random.Random(seed), target
        self.done: Counter[str] = Counter()
        self.cut: set[str] = set()
        self.stores = 0
        self.complaints: list[str] = []
        (folder / f"{NAME}.yaml").write_text(target.space)
        (folder / "program.sh").write_text(PROGRAM)
        for name in HEAVY:  # before the first fork, so that lives cost their work alone
            importlib.import_module(name)
        read_stdlib()
        if text:  # a prepared one: folder of the stage train_text
            shutil.copytree(text, folder / "calm" / "stages" / "train_text")
        elif target.prepared:
            assert self.life("calm", "--inline") == 0, self.said("calm")
            shutil.rmtree(folder / "calm" / "sweeps")
            for stage in (folder / "calm" / "stages").iterdir():
                if stage.name not in target.prepared:
                    shutil.rmtree(stage)
        started_s = time.monotonic()
        assert self.life("calm", "--inline") == 0, self.said("calm")
        self.calm_s = time.monotonic() - started_s
        self.expected = self.rows("calm")
        rows = (self.folder / "calm" / "sweeps" / NAME / "runs").glob("*.json")
        self.row_bytes = min(row.stat().st_size for row in rows)
        assert self.expected["val_bpb"].nunique() == target.num_runs  # else a row in another's place would not be seen

    def inline(self, faults: int) -> None:
        """Disturbs inline sweeps, some lives each, until so many faults were dealt."""
        end = self.done.total() + faults
        while self.done.total() < end:
            store = self.next_store("inline")
            self.prepare(store)
            for _ in range(min(self.random.randint(1, 4), end - self.done.total())):
                self._disturb_inline(store, self.random.choice(self.target.inline_faults))
            self.check(store, self.life(store, "--inline"))

    def on_ray(self, faults: int) -> None:
        """Disturbs sweeps on real Ray: what a driver should survive, then what it cannot, then a last calm life."""
        end = self.done.total() + faults
        while self.done.total() < end:
            store = self.next_store("ray")
            self.prepare(store)
            self._disturb_ray(store, self.random.sample(SURVIVED, k=len(SURVIVED)), end)
            self.check(store, self.ray_life(store).wait(PATIENCE_S))

    def life(
        self,
        store: str,
        *options: str,
        limit_bytes: int | None = None,
        killed_after_s: float | None = None,
        tracer: Sequence[str] = (),
    ) -> int:
        """One driver in a forked process, which need not import anything again; its exit status.

        tracer:  a command that attaches to a process by `-p ID`; the driver begins when it has
        """
        words = ["orchestrator", *self.words(store), *options]
        arguments = (store, words, limit_bytes, bool(tracer))
        child = multiprocessing.get_context("fork").Process(target=self._drive, args=arguments)
        child.start()
        tracing = system_calls.attached(tracer, psutil.Process(child.pid)) if tracer else None
        child.join(killed_after_s or PATIENCE_S)
        if child.is_alive():
            child.kill()
            child.join()
        if tracing:
            tracing.wait(PATIENCE_S)
        assert child.exitcode is not None
        return child.exitcode

    def ray_life(self, store: str) -> subprocess.Popen:
        """One driver on a Ray of its own."""
        command = [sys.executable, "-c", "from orchestrator.cli import main; main()", *self.words(store)]
        with (self.folder / f"{store}.log").open("ab") as log:
            return subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)

    def counted(self, fault: str) -> str:
        """The line of the report that counts it."""
        return f"own program, {fault}" if self.target is OWN_PROGRAM else fault

    def next_store(self, rung: str) -> str:
        self.stores += 1
        return f"{rung}{self.stores}"

    def rows(self, store: str) -> pd.DataFrame:
        rows = rows_of(find_sweep(self.folder / store, NAME))
        return rows.drop(columns="commit")  # a file saved during the campaign changes it, no fault does

    def said(self, store: str) -> str:
        return (self.folder / f"{store}.log").read_text()[-3000:]

    def words(self, store: str) -> list[str]:
        return ["sweep", f"{NAME}.yaml", "--store", store, *self.target.options]

    def _drive(self, store: str, words: list[str], limit_bytes: int | None, waits: bool) -> None:
        if waits:
            os.kill(os.getpid(), signal.SIGSTOP)
        full = limit_bytes is not None  # then a log on the same disk would be the first to fail
        log = os.open(os.devnull if full else self.folder / f"{store}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(self.folder)
        if limit_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
        sys.argv = words
        from orchestrator.cli import main

        main()

    def prepare(self, store: str) -> None:
        """A store that holds the target's prepared stages."""
        for stage in self.target.prepared:
            shutil.copytree(self.folder / "calm" / "stages" / stage, self.folder / store / "stages" / stage)

    def _disturb_inline(self, store: str, fault: str) -> None:
        """Deals one fault, and counts it only if it struck: a life that ended well before its kill was calm."""
        if fault == "entry truncated":
            files = sorted((self.folder / store / "stages").glob("*/*/*.*"))
            if not (victims := [path for path in files if path.name != "result.json"]):
                return
            victim = self.random.choice(victims)
            os.truncate(victim, self.random.randrange(max(victim.stat().st_size, 1)))
            self.cut.add(store)
            struck = True
        elif fault == "disk full at a row":
            shutil.copytree(self.folder / "calm" / "stages", self.folder / store / "stages", dirs_exist_ok=True)
            struck = self.life(store, "--inline", limit_bytes=self.random.randrange(self.row_bytes)) != 0
        elif fault == "disk full":
            struck = self.life(store, "--inline", limit_bytes=self.random.choice(FULL_AT_BYTES)) != 0
        else:
            struck = self.life(store, "--inline", killed_after_s=self.random.uniform(0.1, 0.8) * self.calm_s) != 0
        self.done[self.counted(f"inline: {fault}")] += struck

    def _disturb_ray(self, store: str, survived: Sequence[str], end: int) -> None:
        driver = self.ray_life(store)
        family = psutil.Process(driver.pid)
        for fault in (*survived, self.random.choice(FATAL)):
            if self.done.total() >= end or not self._dealt(fault, driver, family):
                break
            self.done[f"ray: {fault}"] += 1
            if fault in FATAL:
                driver.wait(PATIENCE_S)
                return
        code = driver.wait(PATIENCE_S)
        if code != 0:
            self.complaints.append(f"{store}: the driver should have survived but ended in {code}")

    def _dealt(self, fault: str, driver: subprocess.Popen, family: psutil.Process) -> bool:
        """Kills the process at a random moment after it appeared; False if the sweep ended first."""
        if fault == "driver":
            time.sleep(self.random.uniform(0, 3))
            driver.kill()
            return driver.wait() == -signal.SIGKILL
        end_s = time.monotonic() + PATIENCE_S
        while driver.poll() is None and time.monotonic() < end_s:
            processes = [child for child in family.children(recursive=True) if TITLES[fault] in _title(child)]
            if processes:
                time.sleep(self.random.uniform(0, 3))
                try:
                    self.random.choice(processes).kill()
                except psutil.NoSuchProcess:
                    continue
                return True
            time.sleep(0.1)
        return False

    def check(self, store: str, code: int) -> None:
        """The last life ended well, no row is lost, doubled or changed, and nothing is visible by half."""
        rows = self.rows(store)
        problems = differences(self.expected, rows) if len(rows) else ["no rows"]
        if rows.duplicated(["config", "seed"]).any():
            problems.append("a row is doubled")
        if code != 0:
            problems.append(f"the last life ended in {code}: {self.said(store)}")
        broken = [entry for entry in entries(StageStore(self.folder / store), verify=True) if entry.damage]
        if broken and store not in self.cut:
            problems.append(f"damaged: {broken}")
        self.complaints += [f"{store}: {problem}" for problem in problems]
        print(f"{store}: {self.done.total()} faults dealt, {len(self.complaints)} complaints", file=sys.stderr)
        if not problems:
            shutil.rmtree(self.folder / store)


def report(campaigns: Sequence[Campaign]) -> str:
    """A section for the log."""
    done = sum((campaign.done for campaign in campaigns), Counter())
    complaints = "; ".join(complaint for campaign in campaigns for complaint in campaign.complaints)
    lines = [f"| {name} | {count} |" for name, count in sorted(done.items())]
    verdict = complaints or "every table equals the undisturbed one; 0 lost, 0 doubled, 0 half visible"
    return "\n".join(["| fault | dealt |", "|---|---|", *lines, f"| all | {done.total()} |", "", verdict])


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()[:1])
    except psutil.Error:
        return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inline", type=int, default=70, help="kills, full disks and cut files of inline sweeps")
    parser.add_argument("--ray", type=int, default=30, help="processes killed on a real Ray")
    parser.add_argument("--calls", type=int, default=0, help="faults at chosen system calls of inline sweeps")
    parser.add_argument("--program", type=int, default=0, help="both kinds, on sweeps of an own program of two stages")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--log", type=Path)
    options = parser.parse_args()
    started_s, reason = time.monotonic(), system_calls.missing()
    if reason:
        print(reason, file=sys.stderr)
    campaigns = []
    with tempfile.TemporaryDirectory() as folder:
        if options.inline or options.calls or options.ray:
            campaign = _begun(Path(folder) / "trainer", options.seed, TRAINER, campaigns)
            campaign.inline(options.inline)
            system_calls.deal_at_calls(campaign, 0 if reason else options.calls)
            campaign.on_ray(options.ray)
        if options.program:
            campaign = _begun(Path(folder) / "program", options.seed, OWN_PROGRAM, campaigns)
            campaign.inline(options.program if reason else options.program // 2)
            system_calls.deal_at_calls(campaign, 0 if reason else options.program - options.program // 2)
        minutes = (time.monotonic() - started_s) / 60
        text = f"Seed {options.seed}, {minutes:.0f} minutes on {os.cpu_count()} cores.\n\n{report(campaigns)}\n"
    print(text)
    if options.log:
        with options.log.open("a", encoding="utf-8") as log:
            log.write(f"\n## {datetime.now(UTC):%Y-%m-%d}: fault campaign (`make faults`)\n\n{text}")
    sys.exit(1 if any(campaign.complaints for campaign in campaigns) else 0)


def _begun(folder: Path, seed: int, target: Target, campaigns: list[Campaign]) -> Campaign:
    folder.mkdir()
    campaigns.append(Campaign(folder, seed, target=target))
    return campaigns[-1]


if __name__ == "__main__":
    main()
