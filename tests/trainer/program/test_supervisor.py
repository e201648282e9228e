"""Two streams into one log in the order in which they come; what others hold or nobody can kill delays no end."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from trainer.program import supervisor
from trainer.program.supervised import run_supervised
from trainer.program.supervisor import Output

HOLDER = """
import os, socket, sys
door = socket.socket(socket.AF_UNIX)
door.bind(sys.argv[1])
door.listen()
print("open", flush=True)
came, _ = door.accept()
_, held, _, _ = socket.recv_fds(came, 1, 2)
came.send(b"k")
while sys.stdin.read(1 if sys.argv[2] == "silent" else 0) == "":
    if sys.argv[2] == "silent":
        break
    os.write(held[0], b"noise\\n" * 100)
"""
GIVER = """
import socket, sys
door = socket.socket(socket.AF_UNIX)
door.connect(sys.argv[1])
socket.send_fds(door, [b"x"], [1, 2])
door.recv(1)
print("score: 1.5", flush=True)
"""


class SlowLog:
    """A log whose first line takes until it is told to go on, as on a busy machine."""

    def __init__(self):
        self.lines, self.began, self.go_on = [], threading.Event(), threading.Event()

    def write(self, data):
        if data and not self.lines:
            self.began.set()
            assert self.go_on.wait(30)
        self.lines += data.split()
        return len(data)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only epoll tells which pipe was first")
@pytest.mark.parametrize("first", [0, 1])
def test_lines_of_two_streams_that_wait_are_written_in_the_order_in_which_they_came(first):
    log = SlowLog()
    output = Output(log, 1e6)
    ends = [os.dup(end) for end in output.writers]
    os.write(ends[0], b"earlier\n")
    output.begin()
    assert log.began.wait(30)
    os.write(ends[first], b"one\n")
    os.write(ends[1 - first], b"two\n")
    log.go_on.set()
    for end in ends:
        os.close(end)
    output.end()
    assert log.lines == [b"earlier", b"one", b"two"]


@pytest.mark.parametrize("with_edges", [True, False])
def test_all_lines_of_both_streams_are_kept_also_where_there_is_no_epoll(monkeypatch, with_edges):
    if not with_edges:
        monkeypatch.delattr(supervisor.select, "epoll", raising=False)
    log = SlowLog()
    log.go_on.set()
    output = Output(log, 1e9)
    ends = [os.dup(end) for end in output.writers]
    output.begin()
    for place in range(30_000):  # more than a pipe holds
        os.write(ends[place % 2], b"%d\n" % place)
    for end in ends:
        os.close(end)
    output.end()
    assert sorted(map(int, log.lines)) == list(range(30_000))
    for first in (0, 1):
        assert [int(line) for line in log.lines if int(line) % 2 == first] == list(range(first, 30_000, 2))


@pytest.mark.parametrize("size", [supervisor.PIPE_BYTES, 5 * supervisor.PIPE_BYTES + 7])
def test_output_that_fills_its_pipe_is_kept_whole(tmp_path, size):
    command = [sys.executable, "-c", f"import os, sys; os.write(2, b'x' * 10); sys.stdout.write('y' * {size})"]
    log = tmp_path / "log.txt"
    assert run_supervised(command, tmp_path, dict(os.environ), log, 60) == (0, "")
    assert sorted(log.read_text().split("\n")) == ["x" * 10, "y" * size]


@pytest.mark.parametrize("how", ["silent", "noisy"])
def test_a_stranger_that_holds_the_pipe_and_writes_into_it_delays_no_end_and_loses_no_row(tmp_path, how):
    """Its noise was taken for two seconds after the end, and counted as more output than is allowed."""
    door, log = tmp_path / "door", tmp_path / "log.txt"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(door), how], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"open\n"
        started_s = time.monotonic()
        ended = run_supervised([sys.executable, "-c", GIVER, str(door)], tmp_path, dict(os.environ), log, 60)
        took_s = time.monotonic() - started_s
        holder.kill()
    assert ended == (0, "")
    assert "score: 1.5" in log.read_text()
    assert took_s < supervisor.GRACE_S


def test_what_sigkill_does_not_end_is_waited_for_only_so_long(tmp_path):
    """A process of another user, or one that waits for a disk, was killed again and again for ever."""
    log = tmp_path / "log.txt"
    command = [sys.executable, "-c", "import subprocess; subprocess.Popen(['sleep', '60']); print('score: 1.5')"]
    order = {"command": command, "folder": str(tmp_path), "environment": dict(os.environ), "log": str(log)}
    code = (
        f"import sys; sys.path.insert(0, {str(Path(supervisor.__file__).parent)!r})\n"
        "import supervisor\n"
        "supervisor._signal, supervisor.os.killpg = (lambda pid, number: None), (lambda group, number: None)\n"
        "supervisor.KILL_WITHIN_S = 0.5\n"
        "supervisor.main()\n"
        "import os\n"
        "for pid in supervisor.descendants(os.getpid()): os.kill(pid, 9)\n"
    )
    line = json.dumps(order | {"limits": {"seconds": 30, "output_bytes": 1e6}})
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(f"{line}\n".encode())
        process.stdin.flush()
        end = json.loads(process.stdout.readline())
    assert (end["status"], end["reason"], end["left"]) == (0, "", 1)
    assert log.read_text() == "score: 1.5\n"
