"""The worked example of docs/legality.md says what the audit says, of lines that are there."""

import re
from pathlib import Path

import pytest

from tests.trainer.audit.scripts import FOLDER, scripts
from trainer.audit.findings.static_report import lines_of
from trainer.audit.static_audit import audit_file

ROOT = Path(__file__).parents[3]
STORY = (ROOT / "docs" / "legality.md").read_text(encoding="utf-8").partition("## The founding entry")[2]
BLOCKS = re.findall(r"```console\n\$ orchestrator audit (\S+)\n(.*?)```", STORY, re.DOTALL)
ROWS = re.findall(r"^\| (\d+) \| `(.+?)` \|", STORY, re.MULTILINE)


@pytest.mark.parametrize(("script", "shown"), BLOCKS)
def test_the_page_shows_what_the_command_prints(script, shown):
    assert "\n".join(lines_of(audit_file(ROOT / script))) == shown.rstrip("\n")


def test_every_line_of_the_story_stands_in_the_script():
    assert len(BLOCKS) == 2
    assert len(ROWS) > 6
    lines = (FOLDER / "illegal" / "adapted_before_scoring.py").read_text(encoding="utf-8").splitlines()
    assert [(number, code) for number, code in ROWS if code not in lines[int(number) - 1]] == []


def test_the_page_counts_the_scripts():
    page = " ".join((ROOT / "docs" / "audit.md").read_text(encoding="utf-8").split())
    assert f"{len(scripts('legal'))} legal ones, none accused" in page
    assert f"{len(scripts('illegal'))} illegal ones, each planted line named" in page
