"""The child process of the smoke test: imports a script, builds its model, runs it forward, writes what it saw.

Run as a file of its own under `python -I`, in an empty folder, with a scrubbed environment. It limits itself before
anything of the script runs.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import resource
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

FORWARD_TOKENS, MOST_PARAMETERS = 64, 400_000_000
GPU_ONLY = ("CUDA", "cuda", "NVIDIA", "Triton", "triton", "nccl", "NCCL")


def main() -> None:
    """Arguments: the script, the folder of its sibling modules, the result's file, seconds, bytes of memory."""
    script, folder, result, seconds, memory_bytes = sys.argv[1:6]
    limit(int(seconds), int(memory_bytes))
    seen: dict[str, Any] = {"imports": False, "builds": False, "runs": False, "gaps": [], "problems": []}
    try:
        look(Path(script), folder, seen)
    finally:
        Path(result).write_text(json.dumps(seen), encoding="utf-8")


def limit(seconds: int, memory_bytes: int) -> None:
    """Bounds time, memory and files; closes the network."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**26, 2**26))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    no_network = PermissionError("the smoke test has no network")

    def refuse(*arguments: Any, **keywords: Any) -> Any:
        raise no_network

    for name in ("connect", "connect_ex", "bind", "sendto"):
        setattr(socket.socket, name, refuse)
    socket.create_connection = refuse
    socket.getaddrinfo = refuse


def look(script: Path, folder: str, seen: dict[str, Any]) -> None:
    """Imports, builds and runs; writes into `seen` how far it came and why not further."""
    stand_ins = _load("stand_ins", Path(__file__).with_name("stand_ins.py"))
    finder = stand_ins.install()
    sys.path.insert(0, folder)
    sys.argv = [str(script)]
    module = None
    try:
        module = _load("entry", script)
        seen["imports"] = True
        model = build(module, script.read_text(encoding="utf-8"), seen)
        if model is not None:
            seen["builds"] = True
            describe(model, seen)
            forward(model, seen)
    except stand_ins.StandInGap as gap:
        seen["gaps"].append(str(gap))
    except MemoryError:
        seen["gaps"].append("our limit of memory was reached")
    except BaseException as error:
        _blame(error, script, seen)
    seen["stood_in_for"] = finder.stood_in_for


def _load(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _blame(error: BaseException, script: Path, seen: dict[str, Any]) -> None:
    """Whose is it: what only a GPU, the data or our limits have is a gap of ours; the rest is the script's."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(script)]
    where = f"line {lines[-1]}: " if lines else ""
    text = f"{where}{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    starts_at_once = not seen["imports"] and "__main__" not in script.read_text(encoding="utf-8")
    if isinstance(error, OSError) or any(word in str(error) for word in GPU_ONLY):
        seen["gaps"].append(f"the smoke test has no GPU, no data and no network: {text}")
    elif starts_at_once and not isinstance(error, NameError | SyntaxError | ImportError):
        seen["gaps"].append(f"the script runs when it is imported, and the smoke test has no data: {text}")
    else:
        seen["problems"].append(text)


def build(module: Any, text: str, seen: dict[str, Any]) -> Any:
    """The model as the script builds it; None with a gap if that could not be found out."""
    import torch

    kinds = {
        name: kind
        for name, kind in vars(module).items()
        if isinstance(kind, type) and issubclass(kind, torch.nn.Module) and kind.__module__ == "entry"
    }
    calls = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds
    ]
    inside = {
        node
        for kind in ast.walk(ast.parse(text))
        if isinstance(kind, ast.ClassDef)
        for part in ast.walk(kind)
        if isinstance(part, ast.Call)
        for node in [getattr(part.func, "id", "")]
    }
    outermost = [call for call in calls if call.func.id not in inside and "lora" not in call.func.id.lower()]  # type: ignore[attr-defined]
    if not outermost:
        seen["gaps"].append("we found no class of a model that the script builds outside of other classes")
        return None
    call = outermost[0]
    kind = kinds[call.func.id]  # type: ignore[attr-defined]
    seen["model_class"] = kind.__name__
    arguments, keywords = values_of(call, module, kind, seen)
    return None if arguments is None else kind(*arguments, **keywords)


def values_of(call: ast.Call, module: Any, kind: Any, seen: dict[str, Any]) -> tuple[list[Any] | None, dict[str, Any]]:
    """The values of the model's arguments: the script's settings at their defaults."""
    settings = settings_of(module)
    names = Names(module, settings)
    parameters = list(inspect.signature(kind).parameters.values())
    arguments: list[Any] = []
    keywords: dict[str, Any] = {}
    for position, node in enumerate(call.args):
        found, value = names.value(node)
        if not found:
            seen["gaps"].append(f"we could not find argument {position + 1} of {kind.__name__}: {ast.unparse(node)}")
            return None, {}
        arguments.append(value)
    for keyword in call.keywords:
        found, value = names.value(keyword.value)
        if found and keyword.arg:
            keywords[keyword.arg] = value
        elif not any(one.name == keyword.arg and one.default is not one.empty for one in parameters):
            seen["gaps"].append(f"we could not find argument '{keyword.arg}' of {kind.__name__}")
            return None, {}
    return arguments, keywords


def settings_of(module: Any) -> Any:
    """The object with the script's settings: one it made, or an instance of the class that names a vocabulary."""
    values = list(vars(module).values())
    for value in values:
        names = getattr(value, "__dict__", {}) if type(value).__name__ in ("Namespace", "SimpleNamespace") else {}
        if any("vocab" in name.lower() for name in names):
            return value
    for value in values:
        if (
            isinstance(value, type)
            and value.__module__ == "entry"
            and any("vocab" in name.lower() for name in dir(value))
        ):
            try:
                return value()
            except Exception:  # noqa: S112
                continue
    return None


class Names:
    """Evaluates an argument: names of the module, settings by any name, and settings named like a lost variable."""

    def __init__(self, module: Any, settings: Any):
        self._module, self._settings = vars(module), settings

    def value(self, node: ast.expr) -> tuple[bool, Any]:
        """Whether the value is found, and the value."""
        names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        unknown = [name for name in names if name not in self._module and name not in vars(__builtins__)]
        local = dict.fromkeys(unknown, self._settings)
        for name in unknown:
            if hasattr(self._settings, name) and not any(
                isinstance(part, ast.Attribute) and getattr(part.value, "id", "") == name for part in ast.walk(node)
            ):
                local[name] = getattr(self._settings, name)
        if isinstance(node, ast.Name) and node.id in unknown and self._settings is None:
            return False, None
        try:
            return True, eval(compile(ast.Expression(node), "argument", "eval"), self._module, local)  # noqa: S307
        except Exception:
            return False, None


def describe(model: Any, seen: dict[str, Any]) -> None:
    """Parameters, width, layers and vocabulary, read from the model itself."""
    import torch

    seen["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    tables = [part for part in model.modules() if isinstance(part, torch.nn.Embedding)]
    matrices = [(part.num_embeddings, part.embedding_dim) for part in tables]
    first = matrices[0] if matrices else (None, None)
    seen["vocabulary"], seen["model_dim"] = first
    lists = [len(part) for part in model.modules() if isinstance(part, torch.nn.ModuleList)]
    seen["layers"] = max(lists, default=None)  # type: ignore[type-var]


def forward(model: Any, seen: dict[str, Any]) -> None:
    """One forward pass over a short row of tokens."""
    import torch

    if seen["parameters"] > MOST_PARAMETERS:
        seen["gaps"].append(f"{seen['parameters']:,} parameters are too many for our forward pass")
        return
    vocabulary = seen["vocabulary"] or 256
    ids = torch.arange(FORWARD_TOKENS)[None] % vocabulary
    required = [
        one
        for one in inspect.signature(model.forward).parameters.values()
        if one.default is one.empty and one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    with torch.no_grad():
        output = model(*[ids] * max(len(required), 1))
    output = output[0] if isinstance(output, tuple) else output
    seen["output"] = list(output.shape)
    seen["runs"] = bool(torch.isfinite(output.float()).all())
    if not seen["runs"]:
        seen["problems"].append("the forward pass gives numbers that are not finite")


if __name__ == "__main__":
    main()
