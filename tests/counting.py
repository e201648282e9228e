"""What a computation launches and exchanges, counted without an accelerator.

A kernel is an operator call that makes or changes a tensor; a `foreach` call counts once, though a GPU may need a few.
On torch's meta device, reading a value fails, so that what runs there waits for nothing.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.fakes import HandClock
from trainer.data.loader import make_loader
from trainer.nn.gpt import GPT
from trainer.optim.averaging import EMA
from trainer.optim.optimizers import make_optimizers
from trainer.ranks import Ranks
from trainer.spec.recipe import Recipe
from trainer.stages.context import StageContext
from trainer.stages.train import Decision, end_step, update
from trainer.stages.training import Training
from trainer.store.local import StageStore

META = torch.device("meta")
VIEWS = {
    *("view", "_unsafe_view", "reshape", "unbind", "split", "split_with_sizes", "slice", "select", "as_strided"),
    *("transpose", "permute", "t", "expand", "unsqueeze", "squeeze", "detach", "alias", "lift_fresh", "empty"),
}
"""Operators that launch no kernel."""


class Count(TorchDispatchMode):
    """Counts operators by name, views left out, and notes the rows of each tensor by its width."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: Counter[str] = Counter()
        self.rows_of_width: defaultdict[int, set[int]] = defaultdict(set)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name not in VIEWS and not name.startswith("_record_function"):
            self.kernels[name] += 1
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.ndim:
            self.rows_of_width[result.size(-1)].add(result.shape[:-1].numel())
        return result


class Exchanges(TorchDispatchMode):
    """Lists collectives by name, with the bytes that this rank brings."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[str, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace == "c10d":
            own = args[1] if func.overloadpacket.__name__.startswith("_allgather") else args[0][0]
            self.sent.append((func.overloadpacket.__name__.strip("_"), own.numel() * own.element_size()))
        return func(*args, **(kwargs or {}))


class Largest(TorchDispatchMode):
    """Notes the largest tensor of each dtype that is made on the meta device, in bytes; those inside operators too."""

    def __init__(self) -> None:
        super().__init__()
        self.num_bytes: defaultdict[torch.dtype, int] = defaultdict(int)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with self:
            result = func.decompose(*args, **(kwargs or {}))
        if result is not NotImplemented:
            return result
        result = func(*args, **(kwargs or {}))
        given = {_memory(value) for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)}
        for made in tree_leaves(result):
            if isinstance(made, torch.Tensor) and made.is_meta and _memory(made) not in given:
                self.num_bytes[made.dtype] = max(self.num_bytes[made.dtype], made.numel() * made.element_size())
        return result


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


@contextmanager
def compiled_calls() -> Iterator[list[tuple[Any, ...]]]:
    """Nothing is compiled inside: functions given to torch's compiler run as they are, and their calls are listed.

    Each by its name, the shape of its ids and its other whole numbers.
    """
    calls: list[tuple[Any, ...]] = []

    def recording(function: Callable[..., Any], **options: bool) -> Callable[..., Any]:
        assert options == {"fullgraph": True, "dynamic": False}  # another shape would be another graph

        def call(ids: Tensor, *rest: Any) -> Any:
            calls.append((function.__name__, tuple(ids.shape), *(value for value in rest if isinstance(value, int))))
            return function(ids, *rest)

        return call

    with patch.object(torch, "compile", recording):
        yield calls


@dataclass(frozen=True)
class DistantRanks(Ranks):
    """A rank whose device is `meta`; what is downloaded from it is zero, and each wait of the host is noted."""

    device: torch.device = META
    waits: list[Any] = field(default_factory=list)
    uploads: list[torch.dtype] = field(default_factory=list)

    def synchronize(self) -> None:
        self.waits.append(1)

    def to_host(self, tensor: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(tensor, device="cpu")

    def to_device(self, tensor: torch.Tensor) -> torch.Tensor:
        self.uploads.append(tensor.dtype)
        return tensor.to(META)

    def download(self, *tensors: torch.Tensor) -> Any:
        return *(torch.zeros_like(tensor, device="cpu") for tensor in tensors), lambda: self.waits.append(1)


@contextmanager
def one_rank_of(num_ranks: int, rank: int = 0) -> Iterator[DistantRanks]:
    """One rank of several, in torch's process group that sends nothing."""
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=rank, world_size=num_ranks)
    try:
        yield DistantRanks(rank, num_ranks)
    finally:
        torch.distributed.destroy_process_group()


def meta_model(recipe: Recipe) -> GPT:
    """The recipe's model on the meta device."""
    with META:
        return GPT(recipe.model, recipe.data.vocab_size)


def exchanged_by_a_step(recipe: Recipe, model: GPT, ranks: DistantRanks, folder: Path) -> list[tuple[str, int]]:
    """The collectives of one training step by name, with the bytes that this rank brings; `ranks` notes its waits.

    model:   on the meta device, where reading a value fails
    folder:  an empty one
    The loss is the sum of all weights, whose gradient takes no time, and Adam, whose kernel meta has not, is left out.
    """
    tokens = torch.zeros(recipe.data.train_batch_tokens + 100_000, dtype=torch.int64).numpy()
    optimizers = make_optimizers(dict(model.named_parameters()), recipe.optimizer, ranks)
    training = Training(model, optimizers, make_loader(recipe.data, 0, [tokens], ranks, META), None, EMA(0.99))
    context = StageContext(recipe, "run", StageStore(folder), {}, ranks, clock=HandClock())
    training.clock.start(context.settled_on_first()[0])
    ranks.waits.clear()
    with patch.object(optimizers.adam, "step"), Exchanges() as exchanges:
        decision = Decision.of(recipe, training.step, training.clock)
        end_step(context, training, decision, update(training, recipe, decision, ranks, _sum_of_weights))
    return exchanges.sent


def _sum_of_weights(model: GPT, x_BT: Tensor, y_BT: Tensor) -> Tensor:
    return sum((parameter.sum() for parameter in model.parameters()), torch.zeros((), device=META))
