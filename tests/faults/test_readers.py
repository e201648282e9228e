"""Some mutated inputs of each reader; `make fuzz` reads 10,000."""

from tests.faults.readers import fuzz, readers_of


def test_mutated_inputs_end_in_the_readers_own_errors_soon_and_in_little_memory(tmp_path):
    readers = readers_of(tmp_path)
    counts, complaints = fuzz(readers, 12 * len(readers), seed=1)
    assert complaints == []
    assert counts.total() == 12 * len(readers)
