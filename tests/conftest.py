"""One thread for torch: the bits of a test do not depend on the machine's cores."""

import pytest
import torch

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """GPU tests skip with the reason where there is no GPU; slow ones and benchmarks run only when asked for."""
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="no CUDA device on this machine"))
        if item.get_closest_marker("slow") and "slow" not in (item.config.getoption("markexpr") or ""):
            item.add_marker(pytest.mark.skip(reason="takes minutes; run `make test-all`"))
        if item.get_closest_marker("bench") and "bench" not in (item.config.getoption("markexpr") or ""):
            item.add_marker(pytest.mark.skip(reason="a benchmark; run `make bench`"))
