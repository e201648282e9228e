"""The price of a cluster's nodes, as its file says: two fields, alike in YAML, in annotations and in comments."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from trainer.spec.errors import UserError

MOST_BYTES = 1 << 20
FIELD = r"\b{name}\"?:\s*\"?([0-9]+(?:\.[0-9]+)?)\b"


@dataclass(frozen=True)
class ClusterPrice:
    """What an hour of one GPU node costs."""

    usd_per_node_hour: float
    gpus_per_node: int

    @property
    def usd_per_gpu_hour(self) -> float:
        """What plans multiply."""
        return self.usd_per_node_hour / self.gpus_per_node


def read_price(path: Path) -> ClusterPrice:
    """The price in a cluster file. Raises UserError naming the field that is missing."""
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES).decode("utf-8", errors="replace")
    except OSError as fault:
        raise UserError(
            f"--cluster {path}: {fault.strerror}; expected a file such as orchestrator/cluster/aws.yaml"
        ) from None
    price, gpus = (_field(path, text, name) for name in ("usd_per_node_hour", "gpus_per_node"))
    if gpus < 1:
        raise UserError(f"--cluster {path}: gpus_per_node: {gpus:g} is no number of GPUs; expected 1 or more")
    return ClusterPrice(price, int(gpus))


def _field(path: Path, text: str, name: str) -> float:
    found = re.search(FIELD.format(name=name.replace("_", "[_-]")), text)
    if found is None:
        raise UserError(f"--cluster {path}: no {name}; add it to its metadata, for example: {name}: 8")
    return float(found[1])
