"""What W&B keeps of a run without network: newer versions write no summary, only the log that `wandb sync` sends.

The log is a file of LevelDB's log format (blocks of 32 KiB, records in up to several pieces) after seven bytes of its
own, each record a protobuf message; of these the ones of `wandb.log` and of `run.summary` are read. Nothing of W&B is
imported: it need not be installed where results are read.
Source: wandb/proto/wandb_internal.proto and the LevelDB log format.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LOGS = "wandb/*run-*/run-*.wandb"
"""Below the working folder; one for each `wandb.init`."""
MAGIC = b":W&B"
HEAD_BYTES = 7
"""Of the file, and of each piece: checksum (4), length (2), kind (1)."""
BLOCK_BYTES = 32_768
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4
HISTORY, SUMMARY = 2, 3
"""Fields of a record; each holds items, in field 1."""
ITEM, KEY, NESTED_KEY, VALUE = 1, 1, 2, 16


def summary_in(folder: Path) -> dict[str, Any] | None:
    """The last value of each name that the newest run in a working folder logged; None where there is no log.

    A log that ends in the middle, of a program that was ended, tells what it holds up to there.
    """
    logs = sorted(folder.glob(LOGS), key=lambda path: path.stat().st_mtime_ns)
    if not logs:
        return None
    told: dict[str, Any] = {}
    for record in _records(logs[-1].read_bytes()):
        for number, content in _fields(record):
            if number in (HISTORY, SUMMARY) and isinstance(content, bytes):
                told |= dict(_items(content))
    return told


def _records(content: bytes) -> Iterator[bytes]:
    """The messages of a log, put together of their pieces."""
    if not content.startswith(MAGIC):
        return
    place, pieces = HEAD_BYTES, b""
    while place + HEAD_BYTES <= len(content):
        left = BLOCK_BYTES - place % BLOCK_BYTES
        if left < HEAD_BYTES:  # too short for another piece: zeros
            place += left
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        piece = content[place + HEAD_BYTES : place + HEAD_BYTES + length]
        if len(piece) < length or not FULL <= kind <= LAST:
            return
        pieces = piece if kind in (FULL, FIRST) else pieces + piece
        if kind in (FULL, LAST):
            yield pieces
        place += HEAD_BYTES + length


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Fields of a protobuf message by their numbers; ends where the message is damaged."""
    place = 0
    while place < len(message):
        tag, place = _whole_number(message, place)
        kind, content = tag & 7, b""
        if kind == 0:
            number, place = _whole_number(message, place)
            yield tag >> 3, number
            continue
        if kind == 2:
            length, place = _whole_number(message, place)
        else:
            length = {1: 8, 5: 4}.get(kind, len(message))
        content, place = message[place : place + length], place + length
        yield tag >> 3, content


def _whole_number(message: bytes, place: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and where it ends."""
    number = shift = 0
    while place < len(message):
        byte, place = message[place], place + 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
    return number, place


def _items(history: bytes) -> Iterator[tuple[str, Any]]:
    for number, item in _fields(history):
        if number != ITEM or not isinstance(item, bytes):
            continue
        parts: list[str] = []
        value = ""
        for field, content in _fields(item):
            text = content.decode("utf-8", "replace") if isinstance(content, bytes) else ""
            parts += [text] if field in (KEY, NESTED_KEY) and text else []
            value = text if field == VALUE else value
        try:
            told = json.loads(value)
        except ValueError:
            continue
        name = ".".join(parts)
        if isinstance(told, dict):  # {"max": 0.9}, of `define_metric(..., summary="max")`
            yield from ((f"{name}.{below}", part) for below, part in told.items())
        else:
            yield name, told
