"""Counts of the structure, as in docs/architecture.md: files, lines, rooms, and the way from the command to a run.

    python docs/count.py [CHECKOUT]

Counts a checkout, by default this one. The way is traced: `orchestrator sweep search_spaces/ttt.yaml --inline` runs in
a temporary folder until its first run begins; the functions of our packages that were on the stack then, and all that
were called until then, are counted with their lines.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGES = ("orchestrator", "results", "trainer")
TRACED = """
import sys
from pathlib import Path
root = Path(sys.argv[1])
sys.path.insert(0, str(root))
sys.argv = ["orchestrator", "sweep", str(root / "search_spaces" / "ttt.yaml"), "--inline", "--no-check"]
called, stack = {}, []

def on_call(frame, event, arg):
    path = Path(frame.f_code.co_filename)
    if event != "call" or root not in path.parents or not set(path.relative_to(root).parts[:1]) & {PACKAGES}:
        return
    if frame.f_code.co_name.startswith("<"):
        return
    called[frame.f_code] = str(path.relative_to(root))
    if frame.f_code.co_name == "run_pipeline":
        sys.setprofile(None)
        while frame:
            if frame.f_code in called:
                stack.append((called[frame.f_code], frame.f_code.co_name, num_lines(frame.f_code)))
            frame = frame.f_back
        for path, name, lines in reversed(stack):
            print(f"  {path}: {name}", file=sys.stderr)
        print(f"on the stack of the first run: {len(stack)} functions, {sum(item[2] for item in stack)} lines")
        total = sum(num_lines(code) for code in called)
        print(f"called before it: {len(called)} functions, {total} lines, {len(set(called.values()))} files")
        sys.stdout.flush()
        import os
        os._exit(0)

def num_lines(code):
    return len({line for _, _, line in code.co_lines() if line})

from orchestrator.cli import main
sys.setprofile(on_call)
main()
"""


def main(root: Path) -> None:
    modules = [path for package in PACKAGES for path in (root / package).rglob("*.py") if path.name != "__init__.py"]
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules}
    for package in PACKAGES:
        own = [path for path in modules if root / package in path.parents]
        top = [path for path in own if path.parent == root / package]
        rooms = {path.parent for path in own} - {root / package}
        total = sum(lines[path] for path in own)
        print(f"{package:<13} {len(own):>3} files {total:>6} lines, {len(top):>2} files at its top, {len(rooms)} rooms")
    functions = [
        node.end_lineno - node.lineno + 1
        for path in modules
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    ]
    print(f"all           {len(modules):>3} files {sum(lines.values()):>6} lines, longest file {max(lines.values())}")
    print(f"functions     {len(functions)}, median {sorted(functions)[len(functions) // 2]} lines")
    with tempfile.TemporaryDirectory() as folder:
        code = TRACED.replace("{PACKAGES}", repr(set(PACKAGES)))
        command = [sys.executable, "-c", code, str(root.absolute())]
        traced = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)  # noqa: S603
    print(traced.stdout[traced.stdout.index("on the stack") :] + traced.stderr, end="")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]))
