import pytest

from orchestrator.run.slot import SlotThread


def test_a_slot_thread_remembers_why_it_ended():
    def serve(slot: int) -> None:
        raise RuntimeError(f"slot {slot} has no worker")

    thread = SlotThread(7, serve, try_again=lambda slot: False)
    thread.start()
    thread.join()
    assert "slot 7 has no worker" in thread.fault


@pytest.mark.parametrize("first", [RuntimeError("a node went away"), None], ids=["gave up", "quarantined"])
def test_a_slot_that_deserves_it_gets_another_trainer(first):
    outcomes, deserved = iter([first, None]), iter([True, False])

    def serve(slot: int) -> None:
        if (fault := next(outcomes)) is not None:
            raise fault

    thread = SlotThread(0, serve, try_again=lambda slot: next(deserved))
    thread.start()
    thread.join()
    assert thread.fault == ""
    assert next(outcomes, "served twice") == "served twice"
