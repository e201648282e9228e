"""One self-contained script of a recipe: the trainer's own code that the recipe needs, with the recipe's values in it.

What is needed is said in `reachable`. Its text stays as it is, comments included; of a docstring the first sentence
stays. Definitions of one name in different modules get the module's name in front.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from results.submission.frozen_recipe import SECTION_MODULES, frozen_recipe
from results.submission.module_text import Definition, Function, Module, Target
from results.submission.reachable import SUBSTITUTES, TOO_NEW, Choices, Needed, replace_span
from trainer.spec.environment import PACKAGE
from trainer.spec.recipe import Recipe

ROOT = Target("own", "trainer.stages.standalone", "main")
OF_HEAD = ("from dataclasses import dataclass", "from typing import Any", "import dataclasses")
HEAD = '''"""{title}

One file with everything: recipe, model, optimisers, data, quantisation, scoring and training. The recipe's values are
the defaults of the first classes; `main`, at the end, says in which order the stages run. Made of the trainer of
Fairway {commit}.

    python train_gpt.py --data FOLDER [--seed N]                train, export and score; leaves artifact.bin
    torchrun --standalone --nproc_per_node=8 train_gpt.py ...   the same on eight GPUs
    python train_gpt.py --data FOLDER --evaluate ARTIFACT       score an artifact; reads no training data
"""
'''
FOOT = """if __name__ == "__main__":
    sys.exit(main(Recipe(), Path(__file__)))
"""
Names = Mapping[tuple[str, str], str]
"""What a definition is called in the script, by module and name."""
Edit = tuple[ast.expr | ast.stmt, str]
"""A node, and the text in its place."""


def flatten(recipe: Recipe, title: str, commit: str, package: Path = PACKAGE) -> str:
    """The script of a recipe, whose own seed is the default.

    title:    first line of the script
    commit:   of the trainer
    package:  folder of the trainer's sources
    """
    needed = Needed.by(ROOT, package, _choices(recipe))
    head, of_recipe = frozen_recipe(recipe, needed.attributes)
    sections = [*needed.in_order()]
    names = _names(sections, {*of_recipe, *needed.imports})
    parts = [
        HEAD.format(title=_harmless(title), commit=_harmless(commit)),
        "from __future__ import annotations\n",
        _imports(needed),
        _heading("recipe", "The recipe: all settings that change the result of a run."),
        head,
        *(_section(needed, module, definitions, names) for module, definitions in sections),
        FOOT,
    ]
    return "\n".join(parts)


def _harmless(text: str) -> str:
    """A text that cannot end the string it stands in: printable, without quotes and backslashes."""
    return "".join(character for character in text if character.isprintable() and character not in '"\\')


def _choices(recipe: Recipe) -> Choices:
    """Tables of which the recipe needs some entries only, and which."""
    return {
        ("trainer.quant.compression", "CODERS"): {recipe.quantization.compressor},
        ("trainer.stages.adapt", "PROCEDURES"): {recipe.ttt.mode} - {"off"} or {"score_first"},
        ("trainer.stages.standalone", "SCORES"): {recipe.ttt.mode},
        ("trainer.optim.muon", "NS_COEFFICIENTS"): {recipe.optimizer.muon.ns_coefficients},
    }


def _names(sections: Sequence[tuple[Module, list[Definition]]], taken: set[str]) -> Names:
    """A name for each definition: its own, or with its module's in front where that is taken."""
    names: dict[tuple[str, str], str] = {}
    for module, definitions in sections:
        for name in dict.fromkeys(name for one in definitions for name in one.names):
            stem = module.name.rpartition(".")[2]
            free = (
                name if name not in taken or name == "_" else f"{'_' * name.startswith('_')}{stem}_{name.lstrip('_')}"
            )
            assert free == "_" or free not in taken, f"{module.name}.{name} has no free name"
            names[module.name, name] = free
            taken.add(free)
    return names


def _imports(needed: Needed) -> str:
    """The import statements, those of the standard library first."""
    statements = {statement for bound in needed.imports.values() for statement in bound} | {*OF_HEAD}
    of_package: dict[str, list[str]] = {}
    plain = sorted(statement for statement in statements if statement.startswith("import "))
    for statement in sorted(statements - {*plain}):
        source, _, name = statement.removeprefix("from ").partition(" import ")
        of_package.setdefault(source, []).append(name)
    return (
        "\n".join([*plain, *(f"from {source} import {', '.join(names)}" for source, names in of_package.items())])
        + "\n"
    )


def _heading(name: str, sentence: str) -> str:
    return f"\n# {'-' * 20} {name} {'-' * max(95 - len(name), 3)}\n# {sentence}\n"


def _section(needed: Needed, module: Module, definitions: Sequence[Definition], names: Names) -> str:
    place = "/".join(module.name.split(".")[1:])
    parts = [_heading(f"{place}.py", _first_sentence(ast.get_docstring(module.tree) or ""))]
    parts += _legend(module)
    for definition in definitions:
        parts.append(_text(needed, module, definition, names))
    return "\n".join(parts)


def _legend(module: Module) -> list[str]:
    """The comment lines above a module's first statement but its docstring."""
    first = next((part.lineno for part in module.tree.body[1:]), 1)
    return [line for line in module.text.splitlines()[: first - 1] if line.startswith("#")]


def _text(needed: Needed, module: Module, definition: Definition, names: Names) -> str:
    """The text of a definition as the script has it."""
    node = definition.node
    last = definition.description.end_lineno if definition.description else node.end_lineno
    lines = [*module.lines]
    edits = [*_edits(needed, module, definition, names)]
    for part, text in sorted(edits, key=lambda edit: (edit[0].lineno, edit[0].col_offset), reverse=True):
        replace_span(lines, part, text)
    for method in definition.methods:
        if not needed.keeps(method):
            for number in range(_first_line(method) - 1, method.end_lineno or 0):
                lines[number] = b""
    text = b"".join(lines[_first_line(node) - 1 : last]).decode()
    gap = "\n" if isinstance(node, Function | ast.ClassDef) else ""
    return gap + re.sub(r"\n{3,}", "\n\n", text).rstrip("\n") + "\n"


def _first_line(node: ast.stmt) -> int:
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(one.lineno for one in decorators)])


def _edits(needed: Needed, module: Module, definition: Definition, names: Names) -> list[Edit]:
    """New names of what is referred to, and shorter docstrings; nothing in methods that are left out."""
    edits: list[Edit] = []
    kept = [definition.core, *filter(needed.keeps, definition.methods)]
    for part in kept:
        edits += [(one, _docstring(one)) for one in _docstrings(part)]
        for reference in module.references(part):
            spelled = ast.unparse(reference.node)
            name = _name_of(needed, reference.target, names, spelled)
            if name != spelled:
                edits.append((reference.node, name))
    if definition.description is not None:
        edits.append((definition.description, _docstring(definition.description)))
    edits += [*_own_name(module, definition, names)]
    return edits


def _own_name(module: Module, definition: Definition, names: Names) -> list[Edit]:
    """The edit of the name where it is bound, if the script has another one."""
    node, name = definition.node, definition.names[0]
    if len(definition.names) > 1 or names[module.name, name] == name:
        return []
    if isinstance(node, ast.Assign | ast.AnnAssign):
        return []  # the target is a name like any other, and is edited with the references
    header = ast.Name(name)
    line = module.lines[node.lineno - 1]
    at = line.index(name.encode(), node.col_offset)
    header.lineno = header.end_lineno = node.lineno
    header.col_offset, header.end_col_offset = at, at + len(name.encode())
    return [(header, names[module.name, name])]


def _name_of(needed: Needed, target: Target, names: Names, spelled: str) -> str:
    if target.kind == "external":
        if (target.module, target.name) in TOO_NEW:
            return "Any"
        return SUBSTITUTES.get((target.module, target.name), spelled)
    origin = needed.origin(target)
    if origin.module in SECTION_MODULES:
        return origin.name
    return names.get((origin.module, origin.name), "Any")  # only annotations name what is left out


def _docstrings(node: ast.AST) -> list[ast.Expr]:
    """Strings that describe: the first statement of functions and classes, and those below fields."""
    found = []
    for inner in ast.walk(node):
        for statement in getattr(inner, "body", []) if not isinstance(inner, ast.Lambda | ast.IfExp) else []:
            value = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found.append(statement)
    return found


def _docstring(statement: ast.Expr) -> str:
    assert isinstance(statement.value, ast.Constant)
    sentence = _first_sentence(str(statement.value.value)).replace("\\", "\\\\")
    return f'"""{sentence}"""'


def _first_sentence(text: str) -> str:
    """The first sentence of a text's first paragraph, on one line."""
    paragraph = " ".join(text.strip().split("\n\n")[0].split())
    sentence = re.split(r"(?<=[.:])\s+(?=[A-Z`'0-9])|;\s", paragraph)[0].rstrip(":.")
    return f"{sentence}." if sentence else ""
