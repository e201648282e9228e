"""A CPU that is prepared: one thread, memory in large pages that is not taken before it is written to; and its peak."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trainer.stages.cpu import prepare_cpu

SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")
MEASURE = """
import json, re
import torch
from trainer.stages.cpu import prepare_cpu

def kilobytes(name):
    return sum(map(int, re.findall(rf"^{name}: +(\\d+)", open("/proc/self/smaps").read(), re.M)))

before = kilobytes("Rss")
prepare_cpu()
taken = kilobytes("Rss") - before
arrays = [torch.ones(2**20) for _ in range(25)]
print(json.dumps({"taken": taken, "large": kilobytes("AnonHugePages")}))
"""


STARTED_BY_A_LARGE_PROCESS = """
import subprocess, sys
held = bytearray(b"1" * 2**30)
code = "import torch; from trainer.stages.train import peak_memory_bytes; print(peak_memory_bytes(torch.device('cpu')))"
subprocess.run([sys.executable, "-c", code], check=True)
"""


def test_the_peak_of_memory_is_not_that_of_the_process_that_started_this_one():
    started = [sys.executable, "-c", STARTED_BY_A_LARGE_PROCESS]
    told = subprocess.run(started, capture_output=True, text=True, check=True).stdout
    assert 50e6 < int(told) < 900e6


def test_each_call_sets_one_thread():
    threads = torch.get_num_threads()
    try:
        for _ in range(2):
            torch.set_num_threads(2)
            prepare_cpu()
            assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


@pytest.mark.skipif(
    not SETTING.exists() or "[never]" in SETTING.read_text(), reason="this system has no large pages on demand"
)
def test_arrays_lie_in_large_pages_and_nothing_is_taken_beforehand():
    told = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True).stdout
    measured = json.loads(told)
    assert measured["taken"] < 20_000  # of 262,144 kB that are advised
    assert measured["large"] > 50_000  # of 102,400 kB that are written
