"""A script is followed in the same way in every process: the order of Python's sets, which differs, decides nothing."""

import os
import subprocess
import sys

import pytest

from tests.trainer.audit.scripts import FOLDER

FOLLOWED = """
import sys
from pathlib import Path
from trainer.audit.facts.machine import Machine
from trainer.audit.static_audit import audit_file

evaluated = Machine.evaluated

def told(machine, value, **options):
    parts = ((one.source, one.via, sorted(one.at), one.piece, str(one.low), str(one.high)) for one in value.tokens)
    print(machine.place, sorted(map(str, parts)))
    return evaluated(machine, value, **options)

Machine.evaluated = told
audit_file(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("name", ["legal/shards_read_into_buffers", "illegal/files_taken_by_a_function"])
def test_a_script_of_several_shards_is_followed_alike_with_any_hash_seed(name):
    told = {
        subprocess.run(
            [sys.executable, "-c", FOLLOWED, str(FOLDER / f"{name}.py")],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(told) == 1
    assert "train" in told.pop()
