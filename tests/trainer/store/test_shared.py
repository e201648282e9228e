"""Machines that share a bucket: a stage finished on one is fetched by the others, completely or not at all."""

import json
import multiprocessing
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.outcomes import stage_outcome
from trainer.spec.errors import StoreUnreachable
from trainer.store import claims
from trainer.store.bucket import Bucket
from trainer.store.bucket_stages import Manifest
from trainer.store.mirror import BUCKET_FILE, bucket_of
from trainer.store.shared import SharedStageStore, stage_store

Machine = Callable[[str], SharedStageStore]


def mirror(folder: Path, bucket: Bucket) -> SharedStageStore:
    folder.mkdir(exist_ok=True)
    (folder / BUCKET_FILE).write_text(json.dumps({"url": bucket.url}))
    return stage_store(folder)


@pytest.fixture
def machine(tmp_path, bucket) -> Machine:
    """A store of the same bucket in a folder of its own, empty at first."""
    return lambda name: mirror(tmp_path / name, bucket)


def publish(store: SharedStageStore, content: bytes = b"weights", fingerprint: str = "abc"):
    with store.writing("train", fingerprint) as aside:
        (aside / "w.bin").write_bytes(content)
        outcome = stage_outcome("train", fingerprint, 1.5, metrics={"steps": 3}, workload="small")
        return store.publish(aside, outcome)


def weights(store: SharedStageStore) -> bytes:
    return (store.folder("train", "abc") / "w.bin").read_bytes()


def weights_key(bucket: Bucket) -> str:
    (key,) = (key for key in bucket.list("stages") if key.endswith("-w.bin"))
    return key


def test_a_fresh_machine_finds_what_another_finished_and_fetches_it_to_build_on(machine):
    published = publish(machine("one"))
    two = machine("two")
    assert two.find("train", "abc") == published
    assert not two.folder("train", "abc").exists()
    assert two.recent_seconds("train", "small") == [1.5]
    assert two.find_intact("train", "abc") == published
    assert weights(two) == b"weights"


def test_reading_one_file_fetches_only_that_file(machine, bucket):
    publish(machine("one"))
    two = machine("two")
    assert two.read_file("train", "abc", "w.bin") == b"weights"
    assert two.read_file("train", "abc", "none.csv") is None
    assert two.read_file("train", "other", "w.bin") is None
    assert not (two.root / "stages").exists()
    bucket.put(weights_key(bucket), b"thgiews")
    assert two.read_file("train", "abc", "w.bin") is None


def test_a_store_can_be_pickled(machine):
    published = publish(machine("one"))
    assert pickle.loads(pickle.dumps(machine("two"))).find("train", "abc") == published


def test_a_store_unpickled_on_another_machine_is_the_mirror_of_that_machine(machine, tmp_path):
    one = machine("one")
    publish(one)
    claim = one.claim("train", "other")
    sent = pickle.dumps(one)
    (tmp_path / "one").rename(tmp_path / "elsewhere")  # the machine that receives it has no such folder
    arrived = pickle.loads(sent)
    assert arrived.claim("train", "other") is None  # the sender still holds it
    assert arrived.find_intact("train", "abc") is not None
    assert bucket_of(arrived.root) == bucket_of(tmp_path / "elsewhere")
    claim.release()


def test_an_interrupted_upload_is_not_visible_and_is_repeated_later(machine, monkeypatch):
    one, two = machine("one"), machine("two")
    upload, keys = Bucket.upload, []

    def interrupted(self, path, key):
        keys.append(key)
        if len(keys) == 2:
            raise StoreUnreachable("the network is gone")
        upload(self, path, key)

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "upload", interrupted)
        with pytest.raises(StoreUnreachable):
            publish(one)
    assert len(keys) == 2
    assert two.find("train", "abc") is None
    assert two.find_intact("train", "abc") is None
    assert one.find_intact("train", "abc") is not None  # finished here, published now
    assert two.find_intact("train", "abc") is not None


@pytest.mark.parametrize("damage", [lambda content: content[:3], lambda content: content[::-1], lambda content: b""])
def test_a_damaged_object_is_detected_and_computed_again(machine, bucket, damage):
    publish(machine("one"))
    bucket.put(weights_key(bucket), damage(b"weights"))
    two = machine("two")
    assert two.find_intact("train", "abc") is None
    publish(two)
    assert weights(two) == b"weights"
    assert machine("three").find_intact("train", "abc") is not None


def test_a_malformed_manifest_counts_as_missing_and_is_replaced(machine, bucket):
    publish(machine("one"))
    bucket.put("stages/train/abc/seal.json", b'{"outcome')
    two = machine("two")
    assert two.find("train", "abc") is None
    publish(two)
    assert machine("three").find_intact("train", "abc") is not None


def test_the_first_to_publish_wins_on_every_machine(machine, bucket):
    one, two = machine("one"), machine("two")
    publish(one, b"first")
    publish(two, b"second")
    assert weights(two) == b"first"
    assert bucket.read(weights_key(bucket)) == b"first"  # and nothing of the second is left


def test_a_stage_damaged_in_the_mirror_is_fetched_again(machine):
    one = machine("one")
    publish(one)
    (one.folder("train", "abc") / "w.bin").write_bytes(b"weighty")
    assert one.find_intact("train", "abc") is not None
    assert weights(one) == b"weights"


def test_one_machine_at_a_time_holds_a_claim(machine):
    one, two = machine("one"), machine("two")
    claim = one.claim("train", "abc")
    assert two.claim("train", "abc") is None
    assert one.claim("train", "abc") is None
    claim.release()
    assert two.claim("train", "abc") is not None


def hold(folder: Path, bucket: Bucket, held) -> None:
    held.put(mirror(folder, bucket).claim("train", "abc") is not None)
    time.sleep(600)


@pytest.fixture
def killed_claimer(tmp_path, bucket):
    """SIGKILL to a process of machine 'one' that held the claim."""
    context = multiprocessing.get_context("spawn")
    held = context.Queue()
    process = context.Process(target=hold, args=(tmp_path / "one", bucket, held), daemon=True)
    process.start()
    assert held.get(timeout=60)
    process.kill()
    process.join()


def test_another_machine_gets_the_claim_of_a_killed_process_once_it_has_expired(machine, killed_claimer, monkeypatch):
    monkeypatch.setattr(claims, "EXPIRES_AFTER_S", 0.3)
    two = machine("two")
    assert two.claim("train", "abc") is None
    time.sleep(0.4)
    assert two.claim("train", "abc") is not None


def test_the_same_machine_gets_the_claim_of_a_killed_process_at_once(machine, killed_claimer):
    assert machine("one").claim("train", "abc") is not None


def test_a_claim_with_heartbeats_does_not_expire(machine, monkeypatch):
    monkeypatch.setattr(claims, "HEARTBEAT_EVERY_S", 0.1)
    monkeypatch.setattr(claims, "EXPIRES_AFTER_S", 0.5)
    one, two = machine("one"), machine("two")
    claim = one.claim("train", "abc")
    ends_s = time.monotonic() + 1.2
    while time.monotonic() < ends_s:
        assert two.claim("train", "abc") is None
        time.sleep(0.05)
    claim.release()


def test_a_limit_exceeded_on_one_machine_is_known_on_all(machine):
    one, two = machine("one"), machine("two")
    publish(one, fingerprint="other")
    one.mark_exceeded("train", "abc", 600.0)
    assert two.exceeded_s("train", "abc") == 600.0
    publish(two)
    assert machine("three").exceeded_s("train", "abc") is None


def test_a_manifest_with_a_file_name_outside_the_folder_is_refused(machine, bucket):
    publish(machine("one"))
    manifest = json.loads(bucket.read("stages/train/abc/seal.json"))
    assert Manifest.model_validate(manifest)
    manifest["files"]["../../escaped"] = manifest["files"]["w.bin"]
    with pytest.raises(ValidationError, match="should match pattern"):
        Manifest.model_validate(manifest)
