"""Locks on files of a store, and file systems without locks."""

import errno
import fcntl
import os

import pytest
from filelock import Timeout

from trainer.spec.errors import StoreError
from trainer.store.locks import acquire, holding, is_held


def test_a_lock_keeps_others_out_until_it_is_released(tmp_path):
    lock = acquire(tmp_path / "lock")
    with pytest.raises(Timeout):
        acquire(tmp_path / "lock", timeout_s=0)
    lock.release()
    acquire(tmp_path / "lock", timeout_s=0).release()


def test_asking_whether_a_lock_is_held_writes_nothing(tmp_path):
    path = tmp_path / "lock"
    assert not is_held(path)
    assert not path.exists()
    with holding(path):
        assert is_held(path)
    assert not is_held(path)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_refused_by_name(tmp_path, monkeypatch, number):
    def refuse(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StoreError, match=f"{tmp_path}: the file system does not support locks .*choose another folder"):
        acquire(tmp_path / "lock")
