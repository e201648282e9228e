"""A head and raylets that each have a file system view of their own: only a shared folder, if any, is common.

Each worker node lives in a mount namespace with an empty /tmp, and has an address of its own (127.0.0.2, ...). Needs
root, for `unshare`. Not for pytest alone: the fault campaign on nodes uses it too.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
RAY = Path(sys.executable).parent / "ray"
TOKEN = "ab" * 32
UP_WITHIN_S = 120.0
STARTS = 4
SHARED_BYTES = 256 << 20
"""The shared folder is a disk of its own, so that it can be filled."""
OWN_VIEW = """
set -e
mkdir -p "$KEPT" && mount --bind "$SHARED" "$KEPT"
mount -t tmpfs tmpfs /tmp && chmod 1777 /tmp
mkdir -p "$SHARED" && mount --bind "$KEPT" "$SHARED"
exec "$@"
"""
"""Gives a process a /tmp of its own, in which only the shared folder is the common one."""


def can_unshare() -> bool:
    """Whether this user may make mount namespaces."""
    return (
        bool(shutil.which("unshare")) and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0
    )


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


class Node:
    """A raylet with what it started."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]):
        self.name, self.process = name, process

    def family(self) -> list[psutil.Process]:
        """The processes of the node, the workers included."""
        with contextlib.suppress(psutil.NoSuchProcess):
            top = psutil.Process(self.process.pid)
            return [top, *top.children(recursive=True)]
        return []

    def signal(self, number: int) -> None:
        """To each process of the node."""
        for process in self.family():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def kill(self) -> None:
        """The machine is gone, without a farewell."""
        self.signal(signal.SIGKILL)
        self.process.wait()

    @contextlib.contextmanager
    def cut_off(self) -> Iterator[None]:
        """No process of the node answers for the length of the block."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    @property
    def works(self) -> bool:
        """Whether a worker of a slot runs here."""
        return any("RayTrainWorker" in _title(process) for process in self.family())


def _title(process: psutil.Process) -> str:
    """What a process calls itself; empty of one that has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return " ".join(process.cmdline()[:1])
    return ""


class SeparateNodes:
    """A head without CPUs for runs, and worker nodes that see `shared` and nothing else below /tmp.

    folder:  of the driver, which no worker node sees; `shared` lies in it
    """

    def __init__(self, folder: Path, settings: dict[str, str]):
        self.folder, self.shared = folder, folder / "shared"
        self.shared.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SHARED_BYTES}", "tmpfs", str(self.shared)], check=True)
        self.variables = os.environ | settings | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": TOKEN,
            "RAY_raylet_start_wait_time_s": "150",  # three raylets start at once, on few cores
            "DASHBOARD_METRIC_PORT": str(free_port()),  # another Ray of this machine may have the usual one
            "PYTHONPATH": str(ROOT),
            "SHARED": str(self.shared),
            "KEPT": "/mnt/fairway-shared",
        }  # fmt: skip
        self._scratch = Path(tempfile.mkdtemp(prefix="rn-", dir="/tmp"))
        self._num_started = 0
        self.nodes: dict[str, Node] = {}
        self.head: Node | None = None

    def start(self, names: Sequence[str]) -> None:
        """A head, and worker nodes of one CPU each."""
        self.start_head()
        for name in names:
            self.add(name)

    def start_head(self) -> None:
        """A new head, at a new address."""
        for _ in range(STARTS):
            port = free_port()
            self.address = f"127.0.0.1:{port}"
            options = ["--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false", "--node-name=head"]
            self.head = self._start("head", [*options, f"--temp-dir={self._scratch / f'h{port}'}"], "127.0.0.1", [])
            if self._is_known(self.head):
                return
            self.head.kill()
        raise AssertionError(self.said())

    def add(self, name: str, *options: str) -> Node:
        """A worker node; returns once the head knows it. On a busy machine a raylet may give up its own start."""
        own_view = ["unshare", "-m", "--propagation", "private", "bash", "-c", OWN_VIEW, "node"]
        words = [f"--address={self.address}", f"--node-name={name}", *(options or ["--num-cpus=1"])]
        for _ in range(STARTS):
            self._num_started += 1
            node = self._start(name, words, f"127.0.0.{1 + self._num_started}", own_view)
            if self._is_known(node):
                self.nodes[name] = node
                return node
            node.kill()
        raise AssertionError(self.said())

    def _start(self, name: str, words: list[str], ip: str, before: list[str]) -> Node:
        own_port = f"--dashboard-agent-listen-port={free_port()}"  # another Ray of this machine may have the usual one
        options = ["--block", f"--node-ip-address={ip}", own_port, "--disable-usage-stats"]
        command = [*before, str(RAY), "start", *options, *words]
        with (self.folder / f"node-{name}.log").open("ab") as log:
            return Node(name, subprocess.Popen(command, cwd="/", env=self.variables, stdout=log, stderr=log))

    def _is_known(self, node: Node) -> bool:
        """Waits until the head lists the node; False if that ended, or takes too long."""
        code = (
            "import sys; from ray._raylet import GcsClient; client = GcsClient(address=sys.argv[1])\n"
            "found = [node.node_name for node in client.get_all_node_info().values() if node.state == 0]\n"
            "sys.exit(sys.argv[2] not in found)"
        )
        command = [sys.executable, "-c", code, self.address, node.name]
        end = time.monotonic() + UP_WITHIN_S
        while node.process.poll() is None and time.monotonic() < end:
            if subprocess.run(command, env=self.variables, capture_output=True).returncode == 0:
                return True
            time.sleep(1)
        return False

    def said(self) -> str:
        """The ends of the logs of all nodes."""
        return "\n".join(log.read_text(errors="replace")[-1500:] for log in self.folder.glob("node-*.log"))

    def orchestrator(self, *words: str) -> subprocess.Popen[str]:
        """The command line on the head, in a folder that no node sees."""
        command = [sys.executable, "-m", "orchestrator", *words, "--address", self.address]
        log = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.folder, env=self.variables, stdout=log, stderr=subprocess.STDOUT, text=True
        )

    def kill_all(self) -> None:
        """Head and nodes are gone."""
        for node in [*self.nodes.values(), *([self.head] if self.head else [])]:
            node.kill()
        self.nodes.clear()

    def stop(self) -> None:
        """Ends all that was started here, and no other Ray."""
        self.kill_all()
        subprocess.run(["umount", "-l", str(self.shared)], check=False)
        shutil.rmtree(self._scratch, ignore_errors=True)
