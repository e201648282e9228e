"""Conversions between units, and numbers with units as text.

Nats are per token and so depend on the tokenizer; bits per byte do not.
"""

from __future__ import annotations

import math


def nats_to_bits_per_byte(nats_per_token: float, tokens_per_byte: float) -> float:
    """nats per token → bits per byte, for text with `tokens_per_byte` scored tokens per counted byte."""
    return nats_per_token * tokens_per_byte / math.log(2)


def bits_per_byte_to_nats(bits_per_byte: float, tokens_per_byte: float) -> float:
    """bits per byte → nats per token, the inverse of `nats_to_bits_per_byte`."""
    return bits_per_byte * math.log(2) / tokens_per_byte


def human_count(count: int, noun: str) -> str:
    """'1 run', '1,234 runs'."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def human_bytes(count: int) -> str:
    """'15.77 MB' in decimal units, as the challenge counts (16,000,000, not 16 MiB)."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000 or unit == "MB":
            return f"{count} B" if unit == "B" else f"{size:.2f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")


def human_seconds(seconds: float) -> str:
    """'4 s', '3 min 05 s', '2 h 10 min'."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def human_time(timestamp: str) -> str:
    """'2026-01-31 13:05 UTC', of an ISO 8601 timestamp in UTC."""
    return f"{timestamp[:16].replace('T', ' ')} UTC"
