"""JSON that others wrote: every text that is no JSON ends in ValueError."""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError, also for brackets nested too deep, where `json.loads` does not."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("brackets are nested too deep") from None
