"""Index of the recipe's fields by dotted key (`ttt.lr`): description, unit, stages, and when a field has no effect.

The same keys are used in search spaces, in `--set`, in column names and in messages.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from operator import attrgetter
from typing import Annotated, Any, Literal

from trainer.spec.errors import did_you_mean
from trainer.spec.program import Program
from trainer.spec.recipe import Recipe
from trainer.spec.runnable import Runnable, is_program
from trainer.spec.section import Knob, Section


@dataclass(frozen=True)
class FieldInfo:
    """Facts of one field of the recipe; `FIELDS` has them all by dotted key."""

    key: str
    section: type[Section]
    type_name: str
    default: Any
    stages: tuple[str, ...]
    unit: str
    unless: Mapping[str, Any]
    unless_all: Mapping[str, Any]
    neutral: bool

    def may_be(self, value: Any) -> bool:
        """Whether a text is one of the field's words, where it has words; of anything else nothing is said."""
        return not isinstance(value, str) or " | " not in self.type_name or value in self.type_name.split(" | ")


def _leaves(section: type[Section], prefix: str = "") -> Iterator[FieldInfo]:
    for name, info in section.model_fields.items():
        key = f"{prefix}{name}"
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            yield from _leaves(info.annotation, f"{key}.")
            continue
        knob = next((item for item in info.metadata if isinstance(item, Knob)), None)
        assert knob is not None, f"{key} declares no Knob"
        yield FieldInfo(
            key=key,
            section=section,
            type_name=_type_name(info.annotation),
            default=None if info.is_required() else info.default,
            stages=tuple(knob.stages.split()),
            unit=knob.unit,
            unless=knob.unless,
            unless_all=knob.unless_all,
            neutral=knob.neutral,
        )


def _type_name(annotation: Any) -> str:
    if annotation is type(None):
        return "null"
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " | ".join(str(arg) for arg in args)
    if origin is Annotated:
        return _type_name(args[0])
    if origin is tuple:
        return "list of texts" if args[0] is str else "list of integers"
    if args:
        return " | ".join(_type_name(arg) for arg in args)
    return {int: "integer", float: "number", str: "text", bool: "true | false"}.get(annotation, str(annotation))


FIELDS: Mapping[str, FieldInfo] = {leaf.key: leaf for leaf in _leaves(Recipe)}


NAMES_ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "optimizer.muon.lr": ("learning_rate",),
    "data.train_batch_tokens": ("batch_size", "batch_tokens", "bs"),
    "data.train_seq_len": ("seq_len", "sequence_length", "block_size", "context_length", "max_seq_len"),
    "budget.train_steps": ("steps", "num_steps", "max_steps", "iterations", "num_iterations", "max_iters"),
    "model.num_layers": ("layers", "n_layer", "n_layers", "depth", "num_hidden_layers"),
    "model.model_dim": ("d_model", "dim", "n_embd", "hidden_size", "width"),
    "model.num_heads": ("heads", "n_head", "n_heads", "num_attention_heads"),
    "schedule.warmdown_steps": ("cooldown_steps", "decay_steps"),
    "seed": ("random_seed", "rng_seed"),
}
"""What other programs call a key, where no likeness of spelling would find it."""


def fields_matching(asked: str) -> list[str]:
    """Keys that a person may mean: the key itself and those below it, else parts of that name, else starts of one.

    '' means all; 'lr' every learning rate (`ttt.lr`, `optimizer.adamw.embed_lr`), 'model.ln' `model.ln_scale`.
    """

    def parts(key: str) -> list[str]:
        return key.split(".")

    tests: tuple[Callable[[str], bool], ...] = (
        lambda key: not asked or key == asked or key.startswith(f"{asked}."),
        lambda key: asked in parts(key) or parts(key)[-1].endswith(f"_{asked}"),
        lambda key: key.startswith(asked) or any(part.startswith(asked) for part in parts(key)),
        lambda key: asked in key,
    )
    return next((found for test in tests if (found := [key for key in FIELDS if test(key)])), [])


def nearest_key(asked: str) -> str:
    """'; did you mean X?' with the key that a person may mean, by its spelling or by its name in other programs."""
    section, _, leaf = asked.lower().rpartition(".")
    elsewhere = next((key for key, names in NAMES_ELSEWHERE.items() if leaf in names), None)
    if elsewhere and (here := f"{section}.{elsewhere.rpartition('.')[2]}") in FIELDS:
        elsewhere = here
    return f"; did you mean '{elsewhere}'?" if elsewhere else did_you_mean(asked, FIELDS)


def begins_key(name: str) -> bool:
    """Whether a name is a key of the recipe, or a section of it."""
    return any(key == name or key.startswith(f"{name}.") for key in FIELDS)


def value_at(recipe: Runnable | Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key, e.g. `value_at(recipe, 'optimizer.muon.lr')`, of a recipe or of nested mappings.

    Of a program: the value of that knob, or None where the program has its own default.
    """
    if isinstance(recipe, Recipe):
        return _getter(key)(recipe)
    if isinstance(recipe, Program):
        return recipe.seed if key == "seed" else recipe.values.get(key)
    if is_program(recipe):
        return recipe["seed"] if key == "seed" else recipe["values"].get(key)
    node: Any = recipe
    for part in key.split("."):
        node = node[part] if isinstance(node, Mapping) else getattr(node, part)
    return node


_getter = cache(attrgetter)


def values_getter(keys: Sequence[str]) -> Callable[[Recipe], tuple[Any, ...]]:
    """What returns the values of these keys at once: of 20 keys in a fifth of the time."""
    if len(keys) > 1:
        return attrgetter(*keys)
    return lambda recipe: tuple(value_at(recipe, key) for key in keys)


def flat(recipe: Runnable) -> dict[str, Any]:
    """All values by dotted key, in the order of the recipe's declaration; of a program its knobs and its parts."""
    if isinstance(recipe, Program):
        return recipe.flat()
    return {key: value_at(recipe, key) for key in FIELDS}


def disabled_by(recipe: Runnable | Mapping[str, Any], key: str) -> tuple[str, Any] | None:
    """The switch and its value that take all effect from `key`, or None while it has an effect.

    Nothing is known of the switches of a program.
    """
    if not isinstance(recipe, Recipe) and (isinstance(recipe, Program) or is_program(recipe)):
        return None
    switch = _switch_of(FIELDS[key], lambda switch: value_at(recipe, switch))
    return None if switch is None else (switch, value_at(recipe, switch))


def _switch_of(info: FieldInfo, value_of: Callable[[str], Any]) -> str | None:
    """The switch that takes all effect from a field."""
    for switch, off in info.unless.items():
        if is_off(value_of(switch), off):
            return switch
    if info.unless_all and all(is_off(value_of(switch), off) for switch, off in info.unless_all.items()):
        return next(iter(info.unless_all))
    return None


SWITCHES = tuple(sorted({switch for info in FIELDS.values() for switch in (*info.unless, *info.unless_all)}))
_switch_values = attrgetter(*SWITCHES)


def disabled_keys(recipe: Recipe) -> frozenset[str]:
    """All keys without an effect. Kept by the values of the switches, since a plan asks it of thousands of recipes."""
    return _disabled_keys(_switch_values(recipe))


@lru_cache(maxsize=256)
def _disabled_keys(values: tuple[Any, ...]) -> frozenset[str]:
    value_of = dict(zip(SWITCHES, values, strict=True)).__getitem__
    return frozenset(key for key, info in FIELDS.items() if _switch_of(info, value_of) is not None)


def is_off(value: Any, off: Any) -> bool:
    """Whether a switch has its off value, or one of them."""
    return value in off if isinstance(off, tuple) else value == off
