"""Errors of a bucket: permanent ones become one sentence at once, others are retried."""

import subprocess
import sys
import time
import uuid

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.s3_server import KEYS, S3Server
from trainer.spec.errors import StoreError, StoreUnreachable
from trainer.store import bucket as module
from trainer.store.bucket import Bucket
from trainer.store.mirror import store_folder

NO_RETRY_S = module.RETRY_FOR_S / 2
"""A request that takes less than this was not retried."""


class Failing(MemoryFileSystem):
    """Fails so many times, then works."""

    cachable = False

    def __init__(self, fault: Exception, times: int):
        super().__init__()
        self.fault, self.times = fault, times

    def cat_file(self, path, start=None, end=None, **kwargs):
        self.times -= 1
        if self.times >= 0:
            raise self.fault
        return b"content"


@pytest.fixture
def failing(monkeypatch):
    """A bucket whose first reads fail; retried for half a second."""

    def make(fault: Exception, times: int) -> Bucket:
        monkeypatch.setattr(module, "RETRY_EVERY_S", 0.01)
        monkeypatch.setattr(module, "RETRY_FOR_S", 0.5)
        files = Failing(fault, times)
        monkeypatch.setattr(module, "_file_system", lambda url, process: (files, "/x"))
        return Bucket(f"memory://{uuid.uuid4().hex}")

    return make


def test_requests_to_a_bucket_that_was_reached_before_are_retried(failing):
    bucket = failing(ConnectionError("lost"), 3)
    bucket.note_reachable()
    assert bucket.read("key") == b"content"


def test_retries_end(failing):
    bucket = failing(ConnectionError("lost"), 1_000_000)
    bucket.note_reachable()
    started_s = time.monotonic()
    with pytest.raises(StoreUnreachable, match="lost; check the network .* same command goes on"):
        bucket.read("key")
    assert 0.5 <= time.monotonic() - started_s < NO_RETRY_S


def test_requests_to_a_bucket_that_was_never_reached_are_not_retried(failing):
    bucket = failing(ConnectionError("lost"), 1)
    with pytest.raises(StoreUnreachable, match="check the network"):
        bucket.read("key")


def test_a_permission_error_is_not_retried(failing):
    bucket = failing(PermissionError("Access Denied"), 1)
    bucket.note_reachable()
    with pytest.raises(StoreUnreachable, match="Access Denied; check the credentials"):
        bucket.read("key")


def test_a_bucket_that_does_not_exist(s3):
    with pytest.raises(StoreUnreachable, match="bucket does not exist; check the name"):
        Bucket("s3://nobody-made-it/runs").list("sweeps")


def test_an_endpoint_where_nobody_listens(monkeypatch):
    pytest.importorskip("s3fs", reason="s3fs is not installed; pip install -e '.[s3]'")
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}.items():
        monkeypatch.setenv(name, value)
    started_s = time.monotonic()
    with pytest.raises(StoreUnreachable, match="check the network and the endpoint"):
        Bucket(f"s3://{uuid.uuid4().hex}/runs").list("sweeps")
    assert time.monotonic() - started_s < NO_RETRY_S


def test_keys_that_may_not_read(monkeypatch):
    pytest.importorskip("moto", reason="moto is not installed; pip install -e '.[dev]'")
    server = S3Server({"INITIAL_NO_AUTH_ACTION_COUNT": "0"})
    for name, value in server.settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StoreUnreachable, match="check the credentials"):
        Bucket(f"s3://{uuid.uuid4().hex}/runs").list("sweeps")
    server.stop()


def test_a_package_that_is_missing_is_named(tmp_path):
    code = "import sys; sys.modules['s3fs'] = None; from orchestrator.cli import main; main()"
    command = [sys.executable, "-c", code, "list", "--store", "s3://bucket/runs"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: s3://bucket/runs: a package is missing for s3://; pip install -e '.[s3]'")


def test_a_url_without_a_bucket_is_refused():
    with pytest.raises(StoreError, match="s3:// names no bucket"):
        store_folder("s3://")


def test_an_object_is_created_once_and_a_folder_lists_its_own(bucket):
    assert bucket.create("a/1", b"first")
    assert not bucket.create("a/1", b"second")
    bucket.put("ab/2", b"neighbour")
    assert bucket.read_all(["a/1", "a/none"]) == {"a/1": b"first"}
    assert list(bucket.list("a")) == ["a/1"]
    assert bucket.list("none") == {}
    assert abs(bucket.now_s() - time.time()) < 60


def test_a_store_among_the_files_of_a_ray_job_is_refused(tmp_path, monkeypatch):
    """Ray removes its copy of the folder after the job, and the runs would go with it."""
    job = tmp_path / "working_dir_files" / "_ray_pkg_5a096a0c"
    job.mkdir(parents=True)
    monkeypatch.chdir(job)
    with pytest.raises(StoreError, match=r"store runs lies in this Ray job's copy .* --store /shared/runs"):
        store_folder("runs")
    assert store_folder(tmp_path / "runs") == tmp_path / "runs"
