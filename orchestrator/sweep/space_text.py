"""The search space of a sweep as its folder keeps it: a YAML file for people, and the journal's plain values."""

from __future__ import annotations

import io
from typing import Any

from orchestrator.space.search_space import SearchSpace


def as_yaml(space: SearchSpace) -> bytes:
    """The file that makes the same search space again."""
    from ruamel.yaml import YAML  # late: a sweep that is only read needs none

    ours = {"base", "overrides", "program_keys", "remarks"}
    plain: dict[str, Any] = space.model_dump(mode="json", exclude=ours, exclude_none=True)
    if space.program:
        keys = space.model_dump(mode="json")["program_keys"]
        plain = {key: value for key, value in plain.items() if key != "preset"}
        plain["program"] = keys | {"set": {**keys.get("set", {}), **space.overrides}}
    elif space.overrides:
        plain["set"] = dict(space.overrides)
    text = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # the order of the user's own file
    yaml.dump(plain, text)
    return text.getvalue().encode()


def with_terms_of_0_1_0(space: dict[str, Any]) -> dict[str, Any]:
    """A sweep keeps the test it was declared with: before there was a choice, that with a shared variance."""
    space.setdefault("compare", {}).setdefault("variance", "shared")
    space["compare"].setdefault("blocks", "artifact")
    return space
