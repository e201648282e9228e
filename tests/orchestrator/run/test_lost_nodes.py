"""The board when nodes go away: no run fails for it, and its run waits for another slot."""

import asyncio

from orchestrator.run.board import MAX_LOST_NODES, Board
from trainer.spec.messages import Progress, SlotOrder
from trainer.stages.run_record import RunRequest

RUN = RunRequest("a", "tiny", {}, "")


def play(scene):
    return asyncio.run(asyncio.wait_for(scene, 20))


async def begun(board: Board, slot: int, node: str, alive: tuple[str, ...]) -> int:
    """The slot starts on the node, takes the run and begins it."""
    generation = await board.open_slot(slot, f"machine-{node}", node, alive)
    assert await board.take(slot, generation, 1) == RUN
    await board.progress("a", Progress("a", "train", 0.1))
    return generation


def test_preempted_nodes_do_not_fail_a_run():
    async def scene():
        board = Board(1)
        await board.submit(RUN)
        for number in range(5):
            await begun(board, 0, f"n{number}", (f"n{number}",))
        return await board.wait(RUN, 0)

    status = play(scene())
    assert (status.ended, status.lost) == (False, "")


def test_deaths_on_a_node_that_stays_are_the_run_s_fault():
    async def scene():
        board = Board(1)
        await board.submit(RUN)
        for _ in range(2):
            await begun(board, 0, "n", ("n",))
        await board.open_slot(0, "machine-n", "n", ("n",))
        return await board.wait(RUN, 0)

    assert "died 2 times" in play(scene()).lost


def test_a_death_counts_no_more_once_its_node_turns_out_to_be_gone():
    async def scene():
        board = Board(1)
        await board.submit(RUN)
        await begun(board, 0, "first", ("first", "second"))
        await begun(board, 0, "second", ("first", "second"))  # a worker died, its node is still listed
        await begun(board, 0, "third", ("second", "third"))  # now the first node is not
        return await board.wait(RUN, 0)

    assert play(scene()).lost == ""


def test_the_run_of_a_lost_node_goes_to_another_slot_at_once_and_the_old_group_takes_nothing():
    async def scene():
        board = Board(2)
        await board.submit(RUN)
        old = await begun(board, 0, "n0", ("n0", "n1"))
        other = await board.open_slot(1, "machine-n1", "n1", ("n0", "n1"))
        await board.note_nodes(("n1",))
        status = (await board.status()).slots[0]
        return status, await board.take(1, other, 1), await board.take(0, old, 1)

    status, taken, order = play(scene())
    assert (status.started, status.lost_machine, status.run_id) == (False, "machine-n0", "")
    assert taken == RUN
    assert order is SlotOrder.CLOSE


def test_a_slot_that_lost_its_nodes_is_started_again_however_often():
    async def scene():
        board = Board(1)
        for number in range(6):
            await board.open_slot(0, f"machine-{number}", f"n{number}", (f"n{number}",))
            await board.note_nodes(("other",))
        return await board.try_again(0, ("other",))

    assert play(scene()) is True


def test_a_run_that_takes_down_every_node_it_gets_is_failed_in_the_end():
    async def scene():
        board = Board(1)
        await board.submit(RUN)
        for number in range(MAX_LOST_NODES):
            await begun(board, 0, f"n{number}", (f"n{number}",))
            await board.note_nodes(("other",))
        return await board.wait(RUN, 0)

    assert f"{MAX_LOST_NODES} nodes went away" in play(scene()).lost


def test_a_machine_that_cannot_compute_closes_its_slot_with_the_reason():
    async def scene():
        board = Board(1)
        await board.refuse_slot(0, "beta", "it does not see the store")
        return (await board.status()).slots[0], await board.try_again(0)

    status, again = play(scene())
    assert (status.closed, status.machine, status.refused, again) == (True, "beta", "it does not see the store", False)


def test_the_machine_that_finished_a_run_is_named_and_that_of_a_stopped_one_is_not():
    async def scene(stopped):
        board = Board(1)
        await board.submit(RUN)
        await begun(board, 0, "n", ("n",))
        await board.finish(0, "a", stopped)
        return (await board.wait(RUN, 0)).finished_on

    assert play(scene(False)) == "machine-n"
    assert play(scene(True)) == ""
