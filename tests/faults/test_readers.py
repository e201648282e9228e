"""Some mutated inputs of each reader; `make fuzz` reads 10,000."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.faults.readers import fuzz, readers_of
from trainer.spec.errors import UserError

READERS = (
    "space", "preset", "set", "seeds", "shard", "tokenizer", "artifact", "lineage file", "record", "ledger", "journal",
    "machines", "curve", "import", "audited script", "audited wrapper", "claims of a submission",
    "script of a submission",
)  # fmt: skip


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    return readers_of(tmp_path_factory.mktemp("readers"))


def test_mutated_inputs_end_in_the_readers_own_errors_soon_and_in_little_memory(readers):
    counts, complaints = fuzz(readers, 12 * len(readers), seed=1)
    assert complaints == []
    assert counts.total() == 12 * len(readers)
    assert tuple(readers) == READERS


@pytest.mark.parametrize("name", READERS)
@settings(
    max_examples=12, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(start=st.integers(0, 400), length=st.integers(0, 400), put=st.binary(max_size=60))
@example(start=0, length=10**9, put=b"")
@example(start=0, length=10**9, put=b"\x00")
@example(start=0, length=10**9, put=b"[]\n")
def test_whatever_stands_in_a_part_of_its_input_a_reader_reads_it_or_refuses_it(readers, name, start, length, put):
    sample = readers[name].sample
    fault = None
    try:
        readers[name].read(sample[:start] + put + sample[start + length :])
    except Exception as raised:
        fault = raised
    assert fault is None or isinstance(fault, UserError)
