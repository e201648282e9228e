"""Behaviour of every stage store, the local one and the mirror of a bucket."""

import errno
import json
import multiprocessing
import os
import shutil
import uuid

import pytest

from tests.outcomes import stage_outcome
from trainer.spec.errors import StoreFull
from trainer.store.atomic_write import write_once
from trainer.store.local import StageStore
from trainer.store.mirror import BUCKET_FILE
from trainer.store.shared import stage_store
from trainer.store.unreadable import named_in_faults


@pytest.fixture(params=["local", "mirror"])
def store(request, tmp_path) -> StageStore:
    if request.param == "mirror":
        (tmp_path / BUCKET_FILE).write_text(json.dumps({"url": f"memory://{uuid.uuid4().hex}/runs"}))
    return stage_store(tmp_path)


def publish(store: StageStore, content: str = "x", fingerprint: str = "abc"):
    with store.writing("train", fingerprint) as aside:
        (aside / "weights").write_text(content)
        return store.publish(aside, stage_outcome("train", fingerprint, 1.5, metrics={"steps": 3}))


def test_a_stage_is_found_once_it_is_published(store):
    assert store.find("train", "abc") is None
    publish(store)
    assert store.find("train", "abc").metrics == {"steps": 3}
    assert (store.folder("train", "abc") / "weights").read_text() == "x"


def test_half_a_stage_does_not_exist(store, tmp_path):
    with store.writing("train", "abc") as aside:
        (aside / "weights").write_text("half")
    assert store.find("train", "abc") is None
    assert list((tmp_path / "stages" / "train").iterdir()) == []


def test_the_staging_folder_of_a_killed_holder_is_removed(store, tmp_path):
    left_over = tmp_path / "stages" / "train" / ".abc-host-1"
    left_over.mkdir(parents=True)
    publish(store)
    assert not left_over.exists()


def test_the_first_to_publish_wins(store):
    publish(store, "first")
    publish(store, "second")
    assert (store.folder("train", "abc") / "weights").read_text() == "first"


def test_a_damaged_result_counts_as_missing_and_is_replaced(tmp_path):
    store = StageStore(tmp_path)
    publish(store, "old")
    (store.folder("train", "abc") / "result.json").write_text("{")
    assert store.find("train", "abc") is None
    publish(store, "new")
    assert (store.folder("train", "abc") / "weights").read_text() == "new"


def hold(root, held, release):
    claim = StageStore(root).claim("train", "abc")
    held.put(claim is not None)
    release.wait()


def test_a_failure_on_a_full_disk_raises_store_full_although_cleaning_up_frees_space(tmp_path):
    class SmallDisk(StageStore):
        def check_writable(self) -> None:
            if any(path.stat().st_size > 1000 for path in self.root.rglob("*") if path.is_file()):
                raise StoreFull("no room")

    def fail_after(num_bytes: int) -> None:
        with SmallDisk(tmp_path).writing("train", "abc") as aside:
            (aside / "weights").write_bytes(bytes(num_bytes))
            raise RuntimeError("unexpected end of file")

    with pytest.raises(StoreFull):
        fail_after(2000)
    with pytest.raises(RuntimeError, match="unexpected end"):
        fail_after(10)
    assert list(tmp_path.rglob(".abc-*")) == []


def test_a_store_that_is_not_there_yet_is_tried_by_making_it(tmp_path):
    store = StageStore(tmp_path / "new")
    shutil.rmtree(tmp_path / "new", ignore_errors=True)
    store.check_writable()
    assert (tmp_path / "new").is_dir()


def test_a_fault_of_the_disk_that_names_no_file_names_the_folder(tmp_path):
    words = rf"^{tmp_path}: cannot be written \(No space left on device\); free space"
    with pytest.raises(StoreFull, match=words), named_in_faults(tmp_path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(FileNotFoundError), named_in_faults(tmp_path):
        (tmp_path / "none").read_text()


def test_a_claim_excludes_others_and_ends_with_its_process(store, tmp_path):
    context = multiprocessing.get_context("spawn")
    held, release = context.Queue(), context.Event()
    holder = context.Process(target=hold, args=(tmp_path, held, release))
    holder.start()
    assert held.get(timeout=30)
    assert store.claim("train", "abc") is None
    holder.kill()
    holder.join()
    claim = store.claim("train", "abc")
    assert claim is not None
    claim.release()


def test_a_stage_cut_short_remembers_its_limit_until_it_succeeds(store):
    publish(store, fingerprint="other")
    store.mark_exceeded("train", "abc", 600.0)
    assert store.exceeded_s("train", "abc") == 600.0
    publish(store)
    assert store.exceeded_s("train", "abc") is None


def test_recent_seconds_are_those_of_the_same_workload(store):
    for fingerprint, seconds, workload in (("a", 1.5, "small"), ("b", 2.5, "small"), ("c", 600.0, "large")):
        with store.writing("train", fingerprint) as aside:
            store.publish(aside, stage_outcome("train", fingerprint, seconds, workload=workload))
    assert sorted(store.recent_seconds("train", "small")) == [1.5, 2.5]
    assert store.recent_seconds("adapt", "small") == []


def test_a_file_is_written_once(tmp_path):
    assert write_once(tmp_path / "a" / "run.json", b"1")
    assert not write_once(tmp_path / "a" / "run.json", b"2")
    assert (tmp_path / "a" / "run.json").read_bytes() == b"1"
    assert len(list((tmp_path / "a").iterdir())) == 1
