"""Every preset's artifact at full size, of random weights of three tail weights: the bytes that docs/presets.md gives.

    python -m pytest -m bench tests/benchmarks/test_artifact_sizes.py

Over an hour on one core; `python docs/preset_sizes.py` writes the table that is compared.
"""

import dataclasses

import pytest

from tests.architecture.test_reference import script

pytestmark = pytest.mark.bench
sizes = script("preset_sizes")
CASES = {sizes._artifact_of(*case): case for case in reversed(sizes.cases())}
"""One preset of each artifact."""


@pytest.mark.parametrize("case", list(reversed(CASES.values())), ids=" ".join)
def test_every_preset_fits_by_its_own_rule_or_by_fit_bytes_as_the_page_says(case):
    row = sizes.encoded(*case)
    assert row.model_bytes <= row.limit_bytes
    written = sizes.read_rows()[case]
    if written.encodings:  # the others are estimates
        assert dataclasses.asdict(row) == dataclasses.asdict(written)
