"""What torch's compiler makes of a function and its gradient, without compiling C++ and without a GPU.

The function is traced, differentiated, divided into a forward and a backward, and scheduled as for a CPU, on tensors
without memory. A GPU's schedule differs where its compiler fuses otherwise.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch._functorch import config as functorch_config
from torch._inductor import config as inductor_config
from torch._inductor.graph import GraphLowering
from torch._inductor.ir import MultiOutput
from torch._inductor.scheduler import ExternKernelSchedulerNode
from torch._subclasses.fake_tensor import FakeTensorMode

from trainer.stages.compiling import drop_graphs


@dataclass(frozen=True)
class Lowered:
    """A forward or a backward as the compiler would run it."""

    loops: int
    """Fused loop nests; on a GPU each is a kernel."""
    functions: int
    """Generated functions: on a CPU all loops between two calls are one."""
    calls: Counter[str]
    """Operators that are called as they are, such as matrix products, by name."""
    outputs: list[tuple[torch.dtype, tuple[int, ...]]]
    """dtype and shape of what is handed out: by a forward, what its backward reads, too."""
    made: list[tuple[torch.dtype, tuple[int, ...]]]
    """dtype and shape of everything that is written to memory."""

    @classmethod
    def of(cls, graph: GraphLowering) -> Lowered:
        graph._update_scheduler()
        nodes = [node for node in graph.scheduler.nodes if not isinstance(node.node, MultiOutput)]
        is_call = [isinstance(node, ExternKernelSchedulerNode) for node in nodes]
        names = [node.node.python_kernel_name for node in nodes if isinstance(node, ExternKernelSchedulerNode)]
        handed_out = [output for output in graph.graph_outputs if hasattr(output, "data")]
        return cls(
            loops=is_call.count(False),
            functions=sum(not call and before for before, call in zip([True, *is_call], is_call, strict=False)),
            calls=Counter(name.removesuffix(".default").rsplit(".", 1)[-1] for name in names),
            outputs=[(output.get_dtype(), tuple(map(int, output.get_size()))) for output in handed_out],
            made=[(made.get_dtype(), tuple(map(int, made.get_size()))) for made in _written(graph)],
        )

    @property
    def launches(self) -> int:
        """Functions and calls."""
        return self.functions + self.calls.total()


def _written(graph: GraphLowering) -> list[Any]:
    buffers = [output.node for node in graph.scheduler.nodes for output in node.get_outputs()]
    return [buffer for buffer in buffers if hasattr(buffer.get_output_spec(), "dtype")]


class _Lowered(Exception):
    """Raised where the forward would run."""


def lowered(make: Callable[[], Callable[[], Tensor]]) -> list[Lowered]:
    """The forward, and the backward if there is one, of what `make` returns where tensors have no memory."""
    noted: list[Lowered] = []

    def run(arguments: list[Tensor]) -> None:
        raise _Lowered

    def note(graph: GraphLowering) -> SimpleNamespace:
        noted.append(Lowered.of(graph))
        return SimpleNamespace(call=run, __file__="", key="")

    drop_graphs()
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        inductor_config.patch(fx_graph_cache=False),
        functorch_config.patch(enable_autograd_cache=False, force_non_lazy_backward_lowering=True),
        patch.object(GraphLowering, "compile_to_module", note),
        contextlib.suppress(_Lowered),
    ):
        torch.compile(make(), fullgraph=True, dynamic=False)()
    return noted
