"""Targets that are clamped before they are scored: a note, since which ids a text holds no script says."""

import pytest

from tests.trainer.audit.scripts import FOLDER
from trainer.audit.static_audit import audit_text

LOSS = "F.cross_entropy(self.logits(ids).flatten(0, 1), targets.flatten(), reduction=reduction)"


def audited(before: str, loss: str = LOSS):
    """A legal script whose model does this before its loss."""
    text = (FOLDER / "legal" / "windows_stacked_at_their_length.py").read_text()
    assert text.count(f"        return {LOSS}") == 1
    return audit_text(text.replace(f"        return {LOSS}", f"        {before}\n        return {loss}"), "clamped.py")


@pytest.mark.parametrize(
    ("before", "loss"),
    [
        ("targets = targets.clamp(0, VOCAB - 1)", LOSS),
        ("targets = torch.clamp(targets, max=VOCAB - 1)", LOSS),
        ("targets = targets % VOCAB", LOSS),
        ("targets.clamp_(max=VOCAB - 1)", LOSS),
        ("pass", LOSS.replace("targets.flatten()", "targets.clamp(max=VOCAB - 1).flatten()")),
        ("wanted = targets.clamp(max=1023).reshape(-1)", LOSS.replace("targets.flatten()", "wanted")),
    ],
)
def test_targets_that_are_clamped_from_above_are_said_and_no_breach(before, loss):
    report = audited(before, loss)
    assert report.verdict == "no breach found"
    assert ["targets are clamped" in remark for remark in report.remarks] == [True]


@pytest.mark.parametrize(
    "before",
    [
        "ids = ids.clamp(0, VOCAB - 1)",
        "targets = targets.clamp(min=0)",
        "targets = targets.clamp(0)",
        "targets = targets.clamp(0, None)",
        "other = targets % 7",
        "self.scale = self.head.weight.clamp(-1, 1)",
    ],
)
def test_what_leaves_the_targets_as_they_are_is_not_said(before):
    assert not [remark for remark in audited(before).remarks if "clamped" in remark]
