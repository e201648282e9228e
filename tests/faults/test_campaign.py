"""A short campaign in the default tests; `make faults` runs the long one."""

import pytest

from tests.faults import system_calls
from tests.faults.campaign import OWN_PROGRAM, Campaign


def test_no_fault_of_an_inline_sweep_loses_doubles_or_changes_a_row(tmp_path, text_store):
    campaign = Campaign(tmp_path, seed=1, text=text_store / "stages" / "train_text")
    campaign.inline(faults=1)
    assert campaign.complaints == []
    assert campaign.done.total() == 1


def test_no_fault_of_a_sweep_of_an_own_program_loses_doubles_or_changes_a_row(tmp_path):
    campaign = Campaign(tmp_path, seed=1, target=OWN_PROGRAM)
    campaign.inline(faults=1)
    if not system_calls.missing():
        system_calls.deal_at_calls(campaign, faults=1)
    assert campaign.complaints == []


@pytest.mark.slow
@pytest.mark.skipif(bool(system_calls.missing()), reason=system_calls.missing() or "-")
def test_no_fault_at_a_system_call_loses_doubles_or_changes_a_row(tmp_path, text_store):
    campaign = Campaign(tmp_path, seed=1, text=text_store / "stages" / "train_text")
    system_calls.deal_at_calls(campaign, faults=6)
    assert campaign.complaints == []
    assert campaign.done.total() == 6
