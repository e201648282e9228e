"""`data fetch` over a network: a local server that speaks as much of the Hub as a download needs, faults included."""

import functools
import hashlib
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from trainer.data import fetch
from trainer.data.fetch import REPOSITORY, ROOT
from trainer.data.shards import write_split
from trainer.spec.errors import DataError

TRAIN = "fineweb_train_000000.bin"
LARGE_TOKENS = 12_000_000
"""A file of more than two pieces of the Hub's client, which writes nothing before a piece is whole."""


class HubHandler(BaseHTTPRequestHandler):
    """Files of a folder under /datasets/REPO/resolve/REVISION/, with digests as the Hub tells them."""

    protocol_version = "HTTP/1.1"

    def __init__(self, server_state, *arguments):
        self.state = server_state
        super().__init__(*arguments)

    def do_HEAD(self):
        self._answer(with_body=False)

    def do_GET(self):
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        match = re.fullmatch(rf"/datasets/{REPOSITORY}/resolve/main/{ROOT}/(.+)", self.path)
        path = self.state.mirror / match[1] if match else None
        if path is None or not path.is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = path.read_bytes()
        first = int(re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])
        self.send_response(206 if first else 200)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{self.state.digests.get(path.name) or hashlib.sha256(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body) - first))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        if with_body:
            self._send(path.name, body, first)

    def _send(self, name: str, body: bytes, first: int) -> None:
        self.state.asked.append((name, first))
        if name in self.state.broken:
            self.state.broken.remove(name)
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True  # the line drops in the middle of the file
            return
        self.wfile.write(body[first:])

    def log_message(self, *_):
        pass


class Hub:
    """The server, what was asked of it, and the faults it has been given."""

    def __init__(self, mirror: Path):
        self.mirror = mirror
        self.asked: list[tuple[str, int]] = []
        self.broken: set[str] = set()
        self.digests: dict[str, str] = {}

    def fetch(self, out: Path, *words: str) -> subprocess.CompletedProcess:
        """The command in a process of its own: the Hub's client reads its endpoint once, when it is imported."""
        command = [sys.executable, "-m", "trainer", "data", "fetch", "--variant", "sp320", "--train-shards", "1"]
        variables = {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(out.parent / "hf"), "HF_HUB_DISABLE_XET": "1"}
        environment = os.environ | variables | {"PYTHONPATH": str(Path(__file__).parents[3])}
        return subprocess.run(
            [*command, "--out", str(out), *words], env=environment, capture_output=True, text=True, check=False
        )


@pytest.fixture
def hub(mirror):
    state = Hub(mirror)
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(HubHandler, state))
    state.endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()


def test_a_transfer_that_breaks_goes_on_where_it_stopped_and_says_how_far_it_is(hub, mirror, tmp_path):
    origin = mirror / "datasets" / "fineweb10B_sp320" / TRAIN
    origin.unlink()
    write_split(origin.parent, "train", [np.full(LARGE_TOKENS, 300)], bos_id=1, vocab_size=320)
    hub.broken.add(TRAIN)
    done = hub.fetch(tmp_path / "d")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "d" / "fineweb10B_sp320" / TRAIN).read_bytes() == origin.read_bytes()
    first, second = [first for name, first in hub.asked if name == TRAIN]
    assert 0 == first < second < origin.stat().st_size
    assert f"3 of 3  {TRAIN}" in done.stderr


def test_what_does_not_meet_the_hubs_digest_is_refused_and_fetched_again(hub, tmp_path):
    hub.digests[TRAIN] = "0" * 64
    done = hub.fetch(tmp_path / "d")
    assert done.returncode == 2
    assert f"{TRAIN} of willdepueoai/parameter-golf was damaged on the way" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "d" / "fineweb10B_sp320" / TRAIN).exists()
    hub.digests.clear()
    assert hub.fetch(tmp_path / "d").returncode == 0
    fetched = [name for name, _ in hub.asked]
    assert fetched.count(TRAIN) == 2
    assert fetched.count("fineweb_val_000000.bin") == 1


def test_a_file_the_hub_does_not_have_is_named(hub, mirror, tmp_path):
    (mirror / "datasets" / "fineweb10B_sp320" / TRAIN).unlink()
    done = hub.fetch(tmp_path / "d")
    assert done.returncode == 2
    assert f"{TRAIN} cannot be fetched" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_hub_that_is_not_reached_is_said_in_one_sentence(tmp_path, monkeypatch):
    unreached = Mock(side_effect=LocalEntryNotFoundError("Please check your connection and try again"))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", unreached)
    with pytest.raises(DataError, match=r"is not reached; check the network .* --mirror FOLDER$"):
        fetch.Hub().fetch("manifest.json", tmp_path / "manifest.json")
