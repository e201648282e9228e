"""How large a sweep may be: its numbers are compared with stated limits before anything is listed or made."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.space.parameter import Parameter
from orchestrator.space.search_space import MOST_COUNTED, SearchSpace

MOST_SEEDS = 1_000
"""Of each configuration; a power analysis looks no further either."""
MOST_CONFIGURATIONS = 10_000
MOST_RUNS = 100_000


def complaints_about_size(space: SearchSpace) -> Iterator[tuple[str, tuple[str, ...]]]:
    """More configurations, seeds or runs than a sweep may have, each with the path of the part that says so."""
    if (num_seeds := len(space.seeds)) > MOST_SEEDS:
        yield f"seeds names {num_seeds:,} seeds; at most {MOST_SEEDS:,} of each configuration", ("seeds",)
    if any(item.choices is None for item in space.parameters.values()) and space.run_cap is None:
        return  # endless, which is another complaint
    count = space.num_configurations
    remedy = "give fewer values, or run_cap with method: random or tpe"
    if space.run_cap is not None and space.run_cap > MOST_CONFIGURATIONS and (count or 0) > MOST_CONFIGURATIONS:
        limit = f"at most {MOST_CONFIGURATIONS:,} configurations"
        yield f"run_cap = {_shortened(space.run_cap)} is too large: {limit}", ("run_cap",)
    elif count is None or count > MOST_CONFIGURATIONS:
        how_many = f"more than {MOST_COUNTED:,}" if count is None else f"{count:,}"
        yield (
            f"parameters make {how_many} configurations ({_factors(space)}); at most {MOST_CONFIGURATIONS:,}: {remedy}",
            ("parameters",),
        )
    elif count * num_seeds > MOST_RUNS:
        runs = f"{count:,} configurations on {num_seeds:,} seeds are {count * num_seeds:,} runs"
        yield f"seeds: {runs}; at most {MOST_RUNS:,}", ("seeds",)


def _factors(space: SearchSpace) -> str:
    varied = [(key, _num_values(item)) for key, item in space.parameters.items() if item.varies]
    return " x ".join(f"{key}: {count:,}" for key, count in varied)


def _num_values(item: Parameter) -> int:
    return len(item.choices or ())


def _shortened(number: int) -> str:
    return f"{number:,}" if number < 10**15 else f"{float(number):.3g}"
