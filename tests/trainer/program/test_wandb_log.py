"""The log that W&B keeps of a run without network, written here by hand as its formats say."""

import json

import pytest

from trainer.program.wandb_log import BLOCK_BYTES, FIRST, FULL, HEAD_BYTES, LAST, MIDDLE, summary_in

HEAD = b":W&B\xe1\xbe\x00"


def number(value: int) -> bytes:
    low, high = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + number(high) if high else bytes([low])


def field(place: int, content: bytes) -> bytes:
    return number(place << 3 | 2) + number(len(content)) + content


def record(kind: int, **told) -> bytes:
    """A message of history (2) or summary (3); a number of the record stands before, as W&B has it."""
    items = b""
    for name, value in told.items():
        items += field(1, field(2, name.replace("__", "/").encode()) + field(16, json.dumps(value).encode()))
    return b"\x08\x07" + field(kind, items)


def log(*records: bytes) -> bytes:
    content = HEAD
    for message in records:
        kind = FULL
        while True:
            left = BLOCK_BYTES - len(content) % BLOCK_BYTES
            if left < HEAD_BYTES:
                content += bytes(left)
                continue
            piece, message = message[: left - HEAD_BYTES], message[left - HEAD_BYTES :]
            this = kind if not message else (FIRST if kind == FULL else MIDDLE)
            content += bytes(4) + len(piece).to_bytes(2, "little") + bytes([this]) + piece
            kind = LAST
            if not message:
                break
    return content


@pytest.fixture
def keep(tmp_path):
    def write(content: bytes, run: str = "offline-run-1"):
        path = tmp_path / "wandb" / run / "run-1.wandb"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        return tmp_path

    return write


def test_the_last_value_of_each_name_is_told(keep):
    folder = keep(log(record(2, val__loss=2.5, step=0), record(2, val__loss=1.25), record(3, best=1.0, note="x")))
    assert summary_in(folder) == {"val/loss": 1.25, "step": 0, "best": 1.0, "note": "x"}


def test_what_define_metric_keeps_is_told_beside_the_last_value(keep):
    folder = keep(log(record(3, acc={"max": 0.9}), record(2, acc=0.9), record(3, acc={"max": 0.9}), record(2, acc=0.7)))
    assert summary_in(folder) == {"acc": 0.7, "acc.max": 0.9}


def test_records_in_pieces_over_blocks_are_put_together(keep):
    many = [record(2, text="x" * size, loss=size) for size in (10, 40_000, 100_000, 32_741, 3)]
    assert summary_in(keep(log(*many)))["loss"] == 3


@pytest.mark.parametrize("lost", range(1, 40))
def test_a_log_that_was_cut_tells_what_stands_before(keep, lost):
    whole = log(record(2, loss=2.0), record(2, loss=1.0, more="x" * 40))
    assert summary_in(keep(whole[:-lost])) == {"loss": 2.0}


def test_what_is_no_log_tells_nothing(keep, tmp_path):
    assert summary_in(tmp_path) is None
    assert summary_in(keep(b"something else")) == {}
