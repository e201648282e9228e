"""The board in one process: runs wait, slots pull, and whoever dies is made up for."""

import asyncio
from collections.abc import Awaitable, Callable

from orchestrator.board import MAX_BARREN_STARTS, MAX_KILLS, Board


def request(name: str) -> dict[str, str]:
    return {"run_id": name}


def on_board(scene: Callable[[Board], Awaitable[None]], num_slots: int = 1) -> None:
    async def play() -> None:
        await scene(Board(num_slots))

    asyncio.run(play())


def test_runs_are_taken_in_order_and_once():
    async def scene(board: Board) -> None:
        generation = await board.open_slot(0)
        for name in ("a", "b", "a"):
            await board.submit(request(name))
        taken = [await board.take(0, generation, 0) for _ in range(3)]
        assert taken == [request("a"), request("b"), None]

    on_board(scene)


def test_a_waiting_slot_gets_a_run_as_soon_as_there_is_one():
    async def scene(board: Board) -> None:
        taking = asyncio.create_task(board.take(0, await board.open_slot(0), 60))
        await asyncio.sleep(0)
        await board.submit(request("late"))
        assert await asyncio.wait_for(taking, 1) == request("late")

    on_board(scene)


def test_a_restarted_group_finds_its_unfinished_run_again():
    async def scene(board: Board) -> None:
        await board.submit(request("a"))
        first = await board.open_slot(0)
        await board.take(0, first, 0)
        second = await board.open_slot(0)
        assert await board.take(0, first, 0) == "close"
        assert await board.take(0, second, 0) == request("a")

    on_board(scene)


def test_a_run_that_keeps_killing_its_group_is_lost_with_the_reason():
    async def scene(board: Board) -> None:
        await board.submit(request("a"))
        for _ in range(MAX_KILLS):
            await board.take(0, await board.open_slot(0), 0)
        await board.open_slot(0)
        told = await board.wait(request("a"), 0)
        assert told["ended"]
        assert f"died {MAX_KILLS} times" in told["lost"]

    on_board(scene)


def test_a_slot_that_never_finishes_anything_is_closed_and_its_runs_are_lost():
    async def scene(board: Board) -> None:
        await board.submit(request("a"))
        for _ in range(MAX_BARREN_STARTS + 1):
            generation = await board.open_slot(0)
        assert await board.take(0, generation, 0) == "close"
        assert "no worker group survived" in (await board.wait(request("a"), 0))["lost"]

    on_board(scene)


def test_a_trainer_that_gave_up_is_started_again_only_if_it_finished_a_run():
    async def scene(board: Board) -> None:
        await board.submit(request("a"))
        await board.submit(request("b"))
        await board.take(0, await board.open_slot(0), 0)
        await board.finish(0, "a")
        assert await board.try_again(0)
        assert not await board.try_again(0)
        assert "no worker group survived" in (await board.wait(request("b"), 0))["lost"]

    on_board(scene)


def test_cancelling_ends_a_waiting_run_and_flags_a_running_one():
    async def scene(board: Board) -> None:
        generation = await board.open_slot(0)
        for name in ("running", "waiting"):
            await board.submit(request(name))
        await board.take(0, generation, 0)
        for name in ("running", "waiting", "unknown"):
            await board.cancel(name)
        assert (await board.wait(request("waiting"), 0))["ended"]
        assert not (await board.wait(request("running"), 0))["ended"]
        assert await board.progress("running", None)
        assert await board.take(0, generation, 0) is None

    on_board(scene)


def test_a_restarted_board_hears_of_runs_and_slots_again():
    async def scene(board: Board) -> None:
        assert await board.take(0, 3, 0) == "reopen"  # a group of the board that died
        assert not await board.progress("a", {"fraction": 0.5})
        assert not (await board.wait(request("a"), 0))["ended"]
        assert await board.take(0, await board.open_slot(0), 0) == request("a")
        await board.finish(0, "a")
        assert (await board.wait(request("a"), 0))["ended"]

    on_board(scene)


def test_a_run_that_a_forgotten_slot_finished_is_not_handed_out_again():
    async def scene(board: Board) -> None:
        await board.wait(request("a"), 0)
        await board.finish(0, "a")
        assert await board.take(0, await board.open_slot(0), 0) is None

    on_board(scene)


def test_closing_wakes_every_slot():
    async def scene(board: Board) -> None:
        slots = [asyncio.create_task(board.take(slot, await board.open_slot(slot), 60)) for slot in range(2)]
        await asyncio.sleep(0)
        await board.close()
        assert await asyncio.wait_for(asyncio.gather(*slots), 1) == ["close", "close"]

    on_board(scene, num_slots=2)
