"""Stand-ins for what a script imports that only a GPU has; run in the child process of the smoke test alone.

A stand-in says what it is when its value is needed: that is a gap of ours, never a defect of the script.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import types
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

ATTENTION = ("flash_attn", "flash_attn_interface", "flash_attn_3", "hopper")
"""Packages whose attention is computed by torch instead."""
GPU_ONLY = (*ATTENTION, "triton")
"""Packages that are stood in for also where they are installed: without a GPU they would fail at their first use."""
NEVER = ("__path__", "__file__", "__spec__", "__wrapped__")


class StandInGap(Exception):
    """A value was needed that only the real package has."""


def _needed(self: StandIn, *arguments: Any, **keywords: Any) -> Any:
    raise StandInGap(f"our stand-in for {self._package} has no value for {self._path}")


class StandIn:
    """Anything of a package that is not here: may be passed on, called and used as a decorator."""

    def __init__(self, path: str):
        self._path = path
        self._package = path.partition(".")[0]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return StandIn(f"{self._path}.{name}")

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        if len(arguments) == 1 and not keywords and isinstance(arguments[0], types.FunctionType | type):
            return arguments[0]
        if any(isinstance(argument, torch.Tensor) for argument in (*arguments, *keywords.values())):
            raise StandInGap(f"our stand-in for {self._package} does not compute {self._path}")
        return StandIn(self._path)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return (object,)

    @classmethod
    def __torch_function__(cls, func: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        for argument in args:
            if isinstance(argument, StandIn):
                _needed(argument)
        raise StandInGap("our stand-in for a package was given to torch")

    def __getitem__(self, index: Any) -> StandIn:
        return StandIn(f"{self._path}[...]")


for _name in ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "matmul", "iter", "len", "float", "int", "index"):
    setattr(StandIn, f"__{_name}__", _needed)


class StandInModule(types.ModuleType):
    """A package that is not here."""

    def __init__(self, name: str, known: dict[str, Any] | None = None):
        super().__init__(name)
        self.__path__: list[str] = []
        self.__dict__.update(known or {})

    def __getattr__(self, name: str) -> Any:
        if name in NEVER or name.startswith("__"):
            raise AttributeError(name)
        return StandIn(f"{self.__name__}.{name}")


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for every module that nobody else finds, and remembers which."""

    def __init__(self) -> None:
        self.stood_in_for: list[str] = []

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """A stand-in; Python asks here last."""
        package = name.partition(".")[0]
        if package in ("torch", "numpy", "entry", *sys.stdlib_module_names):
            return None
        if package not in self.stood_in_for:
            self.stood_in_for.append(package)
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """The module: attention by torch where that is what the package computes."""
        attention = spec.name.partition(".")[0] in ATTENTION
        known = {"flash_attn_func": attend, "flash_attn_varlen_func": attend_packed} if attention else {}
        return StandInModule(spec.name, known)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing is run."""


class GpuOnly(importlib.abc.MetaPathFinder):
    """Has the packages of GPU_ONLY stood in for; Python asks here first."""

    def __init__(self, others: Finder):
        self._others = others

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """A stand-in for one of them; nothing for any other module."""
        return self._others.find_spec(name, path) if name.partition(".")[0] in GPU_ONLY else None


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *args: Any, causal: bool = False, **kwargs: Any) -> Any:
    """Attention of (batch, time, heads, width) tensors, with fewer key heads than query heads allowed."""
    repeats = q.size(2) // k.size(2)
    k, v = (x.repeat_interleave(repeats, dim=2) if repeats > 1 else x for x in (k, v))
    scale = kwargs.get("softmax_scale")
    q, k, v = (x.transpose(1, 2) for x in (q, k.to(q.dtype), v.to(q.dtype)))
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=scale).transpose(1, 2)


def attend_packed(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    """Attention of one packed row (time, heads, width); segments are not told apart, which no shape depends on."""
    return attend(q[None], k[None], v[None], causal=bool(kwargs.get("causal", False)))[0]


class OnCPU(TorchFunctionMode):
    """Makes on the CPU what the script makes on a GPU."""

    def __torch_function__(self, func: Any, types: Sequence[Any], args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.cuda:
            return args[0]
        if "cuda" in str(kwargs.get("device", "")):
            kwargs["device"] = "cpu"
        if func is torch.Tensor.to:
            args = tuple("cpu" if _is_cuda(value) else value for value in args)
        return func(*args, **kwargs)


def _is_cuda(value: Any) -> bool:
    return isinstance(value, str | torch.device) and str(value).startswith("cuda")


def install() -> Finder:
    """Puts all stand-ins in place; returns what remembers their names."""
    finder = Finder()
    sys.meta_path.append(finder)
    sys.meta_path.insert(0, GpuOnly(finder))
    nothing = lambda *arguments, **keywords: None  # noqa: E731
    for name in (
        "synchronize",
        "set_device",
        "empty_cache",
        "manual_seed",
        "manual_seed_all",
        "reset_peak_memory_stats",
    ):
        setattr(torch.cuda, name, nothing)
    torch.cuda.get_device_capability = lambda *arguments: (9, 0)  # type: ignore[method-assign,assignment]
    torch.cuda.get_device_name = lambda *arguments: "stand-in"  # type: ignore[method-assign,assignment]
    torch.cuda.current_device = lambda: 0  # type: ignore[method-assign]
    torch.nn.Module.cuda = lambda self, *arguments: self  # type: ignore[method-assign,assignment]
    torch.compile = _uncompiled  # type: ignore[assignment]
    OnCPU().__enter__()
    return finder


def _uncompiled(model: Any = None, **options: Any) -> Any:
    return model if model is not None else lambda function: function
