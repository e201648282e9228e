import math

import pytest

from trainer.spec.units import bits_per_byte_to_nats, human_bytes, human_seconds, human_time, nats_to_bits_per_byte


def test_the_margin_of_the_challenge_in_both_units():
    assert nats_to_bits_per_byte(0.005, tokens_per_byte=0.410521) == pytest.approx(0.00296, abs=5e-6)
    assert nats_to_bits_per_byte(0.005, tokens_per_byte=0.268339) == pytest.approx(0.00194, abs=5e-6)


def test_conversions_undo_each_other():
    assert bits_per_byte_to_nats(nats_to_bits_per_byte(1.7, 0.3), 0.3) == pytest.approx(1.7, rel=1e-12)


def test_one_bit_per_byte_is_ln_2_nats_for_byte_tokens():
    assert bits_per_byte_to_nats(1.0, tokens_per_byte=1.0) == math.log(2)


def test_people_read_decimal_megabytes_and_minutes():
    assert human_bytes(15_774_514) == "15.77 MB"
    assert human_bytes(999) == "999 B"
    assert [human_seconds(s) for s in (4.04, 59.6, 185, 7800)] == ["4.0 s", "1 min 00 s", "3 min 05 s", "2 h 10 min"]
    assert human_time("2026-01-31T13:05:59+00:00") == "2026-01-31 13:05 UTC"
