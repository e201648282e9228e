"""One thread for torch: the bits of a test do not depend on the machine's cores."""

import contextlib
import gc
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from tests.s3_server import S3Server
from trainer.store.bucket import Bucket

torch.set_num_threads(1)
with contextlib.suppress(ImportError):  # a machine with a GPU may lack it
    import pyarrow  # noqa: F401  a command that reads a store, run in this process, would hide it from pandas otherwise


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A local S3 that tests and what they start find by the usual AWS settings."""
    pytest.importorskip("moto.server", reason="needs moto[server] and s3fs, of the extra 'dev'")
    server = S3Server()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.settings.items():
            patch.setenv(name, value)
        yield server
    server.stop()


@pytest.fixture(scope="session")
def text_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that holds the text of `tiny` and one finished run of the small recipe; one for all workers.

    Training its tokenizer takes four seconds, more than most tests that need it.
    """
    from tests.trainer.stages.conftest import run, small  # imports the trainer, which most tests do without

    base = tmp_path_factory.getbasetemp()
    store = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "text_store"
    with FileLock(f"{store}.lock"):
        if not (store / "records" / "first.json").exists():
            record = run(store, small(), "first")
            assert record.status == "done", record.error
    return store


@pytest.fixture
def bucket(s3) -> Bucket:
    """A prefix of a new bucket."""
    import boto3

    name = f"bucket-{uuid.uuid4().hex}"
    boto3.client("s3").create_bucket(Bucket=name)
    return Bucket(f"s3://{name}/team/runs")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """GPU tests skip with the reason where there is no GPU; slow ones and benchmarks run only when asked for.

    Those with a Ray come first: beside them other workers have something to do to the end.
    """
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no CUDA device on this machine"))
        if item.get_closest_marker("slow") and "slow" not in (item.config.getoption("markexpr") or ""):
            item.add_marker(pytest.mark.skip(reason="takes minutes; run `make test-all`"))
        if item.get_closest_marker("bench") and "bench" not in (item.config.getoption("markexpr") or ""):
            item.add_marker(pytest.mark.skip(reason="a benchmark; run `make bench`"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """What importing and collecting left in memory stays to the end: no garbage collection needs to look at it."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than cores: what starts a Ray waits for most of its time."""
    from orchestrator.run.placement import usable_cpus  # a machine without Ray's packages runs tests/gpu alone

    return usable_cpus() + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests share its fixtures and stay on one worker, and so do all files whose tests start a Ray.

    xdist's own groups (`--dist loadgroup`) silently group nothing under pytest 9.2: pytest-xdist issue 1386.
    """
    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "ray" if nodeid.startswith("tests/ray/") else super()._split_scope(nodeid)

    return Files(config, log)
