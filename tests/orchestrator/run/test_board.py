"""The board as slots and trials see it; no Ray, so that each exchange can be played by hand."""

import asyncio

import pytest

from orchestrator.run.board import Board
from trainer.spec.messages import Progress, SlotOrder
from trainer.stages.run_record import RunRequest


def play(scene):
    """Runs an async scene to its end."""
    return asyncio.run(asyncio.wait_for(scene, 20))


def request(name: str) -> RunRequest:
    return RunRequest(name, "tiny", {}, "")


def at(fraction: float) -> Progress:
    return Progress("a", "train", fraction)


def test_a_slot_takes_what_was_submitted_and_a_trial_is_sent_its_end():
    async def scene():
        board = Board(1)
        generation = await board.open_slot(0)
        await board.submit(request("a"))
        taken = await board.take(0, generation, 1)
        early = await board.wait(request("a"), 0.01)
        await board.finish(0, "a")
        return taken, early, await board.wait(request("a"), 1)

    taken, early, late = play(scene())
    assert taken == request("a")
    assert (early.ended, late.ended, late.lost) == (False, True, "")


def test_a_waiting_slot_gets_a_run_the_moment_it_comes():
    async def scene():
        board = Board(1)
        generation = await board.open_slot(0)
        waiting = asyncio.create_task(board.take(0, generation, 10))
        await asyncio.sleep(0.01)
        await board.submit(request("a"))
        return await asyncio.wait_for(waiting, 1)

    assert play(scene()) == request("a")


def test_nothing_to_do_is_answered_before_anybody_times_out():
    async def scene():
        board = Board(1)
        return await board.take(0, await board.open_slot(0), 0.01)

    assert play(scene()) is SlotOrder.ASK_AGAIN


def test_a_run_is_handed_out_once():
    async def scene():
        board = Board(2)
        generations = [await board.open_slot(slot) for slot in (0, 1)]
        await board.submit(request("a"))
        await board.submit(request("a"))
        return [await board.take(slot, generations[slot], 0.01) for slot in (0, 1)]

    assert play(scene()) == [request("a"), SlotOrder.ASK_AGAIN]


def test_a_restarted_slot_gets_its_unfinished_run_again():
    async def scene():
        board = Board(1)
        first = await board.open_slot(0)
        await board.submit(request("a"))
        await board.submit(request("b"))
        await board.take(0, first, 1)
        return await board.take(0, await board.open_slot(0), 1)

    assert play(scene()) == request("a")


def test_the_hanging_call_of_a_dead_group_swallows_nothing():
    async def scene():
        board = Board(1)
        dead = asyncio.create_task(board.take(0, await board.open_slot(0), 10))
        await asyncio.sleep(0.01)
        alive = await board.open_slot(0)
        await board.submit(request("a"))
        return await dead, await board.take(0, alive, 1)

    assert play(scene()) == (SlotOrder.CLOSE, request("a"))


def test_a_run_that_killed_its_group_twice_is_lost_with_the_reason():
    async def scene():
        board = Board(1)
        await board.submit(request("a"))
        for _ in range(2):
            await board.take(0, await board.open_slot(0), 1)
            await board.progress("a", at(0.1))
        await board.open_slot(0)
        return await board.wait(request("a"), 1)

    assert "died 2 times while it held this run" in play(scene()).lost


def test_a_slot_whose_groups_keep_dying_is_closed_and_the_run_waits_for_another_day():
    async def scene():
        board = Board(1)
        await board.submit(request("a"))
        generations = [await board.open_slot(0) for _ in range(4)]
        return await board.wait(request("a"), 0), await board.take(0, generations[-1], 1)

    status, order = play(scene())
    assert (status.ended, status.lost) == (False, "")
    assert order == SlotOrder.CLOSE


def test_a_trainer_that_gave_up_is_started_again_only_if_it_finished_a_run():
    async def scene():
        board = Board(1)
        await board.submit(request("a"))
        await board.take(0, await board.open_slot(0), 1)
        await board.finish(0, "a")
        return await board.try_again(0), await board.try_again(0)

    assert play(scene()) == (True, False)


def test_a_restarted_board_is_sent_runs_and_slots_again():
    async def scene():
        board = Board(1)
        forgotten = await board.take(0, 3, 0)  # a group that opened its slot on the board that died
        stop = await board.progress("a", at(0.5))
        early = await board.wait(request("a"), 0)
        taken = await board.take(0, await board.open_slot(0), 0)
        await board.finish(0, "a")
        return forgotten, stop, early.ended, taken, (await board.wait(request("a"), 0)).ended

    assert play(scene()) == (SlotOrder.REOPEN, False, False, request("a"), True)


def test_a_run_that_a_forgotten_slot_finished_is_not_handed_out_again():
    async def scene():
        board = Board(1)
        await board.wait(request("a"), 0)
        await board.finish(0, "a")
        return await board.take(0, await board.open_slot(0), 0)

    assert play(scene()) is SlotOrder.ASK_AGAIN


def test_a_finished_run_forgives_earlier_starts():
    async def scene():
        board = Board(1)
        for name in "abcdef":
            await board.submit(request(name))
            generation = await board.open_slot(0)
            await board.take(0, generation, 1)
            await board.finish(0, name)
        return await board.take(0, generation, 0.01)

    assert play(scene()) is SlotOrder.ASK_AGAIN


def test_cancelling_reaches_a_running_run_and_ends_a_waiting_one():
    async def scene():
        board = Board(1)
        generation = await board.open_slot(0)
        for name in "ab":
            await board.submit(request(name))
        await board.take(0, generation, 1)
        for name in ("a", "b", "unknown"):
            await board.cancel(name)
        return (
            await board.progress("a", at(0.5)),
            await board.wait(request("b"), 0.01),
            await board.wait(request("a"), 0.01),
        )

    stop, waiting, running = play(scene())
    assert stop is True
    assert waiting.ended is True
    assert (running.ended, running.fraction) == (False, 0.5)


def test_closing_ends_every_slot():
    async def scene():
        board = Board(2)
        waiting = [asyncio.create_task(board.take(slot, await board.open_slot(slot), 10)) for slot in (0, 1)]
        await asyncio.sleep(0.01)
        await board.close()
        return await asyncio.gather(*waiting)

    assert play(scene()) == [SlotOrder.CLOSE, SlotOrder.CLOSE]


def test_a_full_store_ends_every_slot_and_blames_no_run():
    async def scene():
        board = Board(1)
        for _ in range(2):  # the group died once already within the run
            generation = await board.open_slot(0)
            await board.submit(request("a"))
            await board.take(0, generation, 1)
            await board.progress("a", at(0.5))
        await board.halt("no room")
        reopened = await board.open_slot(0)
        status = await board.wait(request("a"), 0)
        return await board.take(0, reopened, 1), status.lost, (await board.status()).halted

    assert play(scene()) == (SlotOrder.CLOSE, "", "no room")


def test_the_status_says_what_each_slot_does():
    async def scene():
        board = Board(2)
        generation = await board.open_slot(0)
        await board.submit(request("a"))
        await board.submit(request("b"))
        await board.take(0, generation, 1)
        await board.progress("a", at(0.25))
        return await board.status()

    status = play(scene())
    assert [slot.started for slot in status.slots] == [True, False]
    assert status.slots[0].progress == at(0.25)
    assert status.pending == ("b",)


@pytest.mark.parametrize("wait_s", [0.0, 0.01])
def test_waiting_for_a_run_is_bounded(wait_s):
    async def scene():
        board = Board(1)
        await board.submit(request("a"))
        return await board.wait(request("a"), wait_s)

    assert play(scene()).ended is False


def test_a_run_that_never_began_is_charged_no_death():
    async def scene():
        board = Board(1)
        await board.submit(request("a"))
        for _ in range(2):
            await board.take(0, await board.open_slot(0), 1)
        return await board.take(0, await board.open_slot(0), 1)

    assert play(scene()) == request("a")


def test_a_quarantined_machine_gets_no_more_runs_and_gives_back_what_it_holds():
    async def scene():
        board = Board(2)
        bad, good = await board.open_slot(0, "beta"), await board.open_slot(1, "alpha")
        await board.submit(request("a"))
        await board.take(0, bad, 1)
        await board.quarantine(["beta"])
        told_to_stop = await board.progress("a", at(0.5))
        nothing_yet = await board.take(1, good, 0.01)
        await board.finish(0, "a")  # it left the bad slot without a record
        return told_to_stop, nothing_yet, await board.take(0, bad, 1), await board.take(1, good, 1)

    assert play(scene()) == (True, SlotOrder.ASK_AGAIN, SlotOrder.CLOSE, request("a"))


def test_a_group_that_starts_on_a_quarantined_machine_is_sent_home():
    async def scene():
        board = Board(1)
        await board.quarantine(["beta"])
        await board.submit(request("a"))
        return await board.take(0, await board.open_slot(0, "beta"), 1)

    assert play(scene()) == SlotOrder.CLOSE


def test_a_slot_of_a_quarantined_machine_starts_again_elsewhere():
    async def scene():
        board = Board(1)
        await board.submit(request("a"))
        await board.take(0, await board.open_slot(0, "beta"), 1)
        await board.quarantine(["beta"])
        again = await board.try_again(0)  # its group died before it could give the run back
        await board.quarantine(["beta"])  # the driver says so again and again
        starting = (await board.status()).slots[0]
        return again, starting.started, await board.take(0, await board.open_slot(0, "alpha"), 1)

    assert play(scene()) == (True, False, request("a"))


@pytest.mark.parametrize("closing", [True, False])
def test_a_slot_that_found_no_room_elsewhere_stays_closed(closing):
    async def scene():
        board = Board(1)
        await board.open_slot(0, "beta")
        await board.quarantine(["beta"])
        if closing:
            await board.close()
        return await board.try_again(0), await board.try_again(0)

    assert play(scene()) == (not closing, False)


def test_a_run_that_drifted_can_be_submitted_again():
    async def scene():
        board = Board(2)
        bad, good = await board.open_slot(0, "beta"), await board.open_slot(1, "alpha")
        await board.submit(request("a"))
        await board.take(0, bad, 1)
        await board.finish(0, "a")
        await board.quarantine(["beta"], ["a"])
        early = await board.wait(request("a"), 0)
        return early.ended, await board.take(1, good, 1)

    assert play(scene()) == (False, request("a"))


def test_a_run_is_cancelled_only_by_the_trial_that_waits_for_it():
    async def scene():
        board = Board(1)
        await board.wait(request("a"), 0, "waiting")
        await board.cancel("a", "a process that Tune started in vain")
        kept = (await board.wait(request("a"), 0, "waiting")).ended
        await board.cancel("a", "waiting")
        return kept, (await board.wait(request("a"), 0, "waiting")).ended

    assert play(scene()) == (False, True)
