"""Settings of a script: variables of the environment and options of the command line, at their defaults or switched on.

A script's own defaults decide what it does. What is off by default is walked within its branches; since it may span
several of them, the script is walked once more with these settings switched on (`static_audit`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from trainer.audit.effects.shares_of_ranks import RANKS, WORLDS, setting_of
from trainer.audit.facts.machine import Keywords, Machine
from trainer.audit.facts.values import UNKNOWN, Mapping, Value, changed, constant

SWITCHED_ON: dict[Any, Any] = {
    "": "given", "0": "1", "0.0": "0.5", "false": "true", "False": "True", "no": "yes", "off": "on", "none": "given",
    "None": "given",
}  # fmt: skip
"""Texts that leave something out, and what a person would write to have it."""
ON_OR_OFF = ("", "0", "1", "true", "false", "none", "yes", "no", "on", "off")
"""Defaults, in small letters, of settings that are either on or off: all conditions on one of them agree."""


def setting(machine: Machine, arguments: Sequence[Value]) -> Value:
    """A setting of the environment, by its name and default."""
    name = arguments[0].const if arguments and arguments[0].is_known else "?"
    if name in RANKS | WORLDS:
        return setting_of(str(name))
    if len(arguments) < 2:
        made = Value(const=None, env=frozenset([f"{name}="]), text=frozenset([str(name)]))
        return _given(machine, str(name), made)
    default = arguments[1]
    if not default.is_known:
        return changed(default, env=default.env | {f"{name}="})
    return _given(machine, str(name), constant(default.const, frozenset([f"{name}={default.const}"])))


def option(machine: Machine, parser: Mapping, arguments: list[Value], keywords: Keywords) -> Value:
    """`add_argument(...)`: an option of the command line, by its name and default."""
    names = [value.const for value in arguments if isinstance(value.const, str)]
    flag = next((name for name in names if name.startswith("--")), names[0] if names else "")
    dest = keywords["dest"].const if "dest" in keywords else flag.lstrip("-").replace("-", "_")
    switch = {"store_true": False, "store_false": True}.get(str(keywords.get("action", UNKNOWN).const))
    default = keywords.get("default", constant(switch))
    made = changed(default, env=default.env | {f"{flag}={default.const}"})
    parser.entries[dest] = _given(machine, flag, made) if default.is_known else made
    return UNKNOWN


def switched(machine: Machine, test: Value) -> frozenset[str]:
    """Remembers the settings that leave a branch out; those of them that this walk was given, as NAME=DEFAULT."""
    names = {entry: entry.partition("=")[0] for entry in test.env}
    for entry, name in names.items():
        if name in machine.left_out:
            machine.switches[name] = entry
    return frozenset(entry for entry, name in names.items() if name in machine.given)


def _given(machine: Machine, name: str, default: Value) -> Value:
    """The setting as this walk was given it; its default if it was not."""
    if name in machine.given:
        return changed(constant(machine.given[name]), env=default.env)
    value = default.const
    on = True if value is False else 1 if value == 0 else "given" if value is None else SWITCHED_ON.get(value)
    if on is not None:
        machine.left_out[name] = on
    return default
