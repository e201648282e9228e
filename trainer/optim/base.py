"""What every optimiser here has: groups of parameters, a state for each parameter, and both as a state dict.

The state dicts are torch's in form. `torch.optim.Optimizer` is not used, since its constructor imports a compiler:
1.4 s of a CPU in each process, which a run without a compiler does not need.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor


class Optimizer:
    """Parameters in groups, each group with its settings under their names.

    groups:    each with its parameters under "params", and settings of its own
    defaults:  settings of the groups that have none of that name
    """

    def __init__(self, groups: Iterable[Mapping[str, Any]], **defaults: Any):
        self.param_groups = [defaults | {**group, "params": list(group["params"])} for group in groups]
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)

    def zero_grad(self) -> None:
        """Deletes all gradients."""
        for parameter in self._parameters():
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """State by the number of the parameter, and the groups with such numbers; tensors are not copied."""
        number = {parameter: place for place, parameter in enumerate(self._parameters())}
        return {
            "state": {number[parameter]: state for parameter, state in self.state.items()},
            "param_groups": [
                group | {"params": [number[parameter] for parameter in group["params"]]} for group in self.param_groups
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continues from a `state_dict` of as many parameters in the same groups; its tensors become this state.

        Raises ValueError if the groups are others.
        """
        sizes = [[len(group["params"]) for group in groups] for groups in (self.param_groups, state["param_groups"])]
        if sizes[0] != sizes[1]:
            raise ValueError(f"the state is of groups of {sizes[1]} parameters, not {sizes[0]}")
        for group, saved in zip(self.param_groups, state["param_groups"], strict=True):
            group |= {name: value for name, value in saved.items() if name != "params"}
        parameters = self._parameters()
        self.state.clear()
        for place, values in state["state"].items():
            parameter = parameters[place]
            self.state[parameter] = {
                name: value.to(parameter.device) if torch.is_tensor(value) else value for name, value in values.items()
            }

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]
