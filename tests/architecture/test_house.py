"""The house has floors: who may import whom, and what importing may cost."""

import ast
import functools
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.sweep_on_disk import finished_sweep

ROOT = Path(__file__).parents[2]
ROOMS = ("nn", "optim", "data", "quant", "scoring")
FLOORS = {
    "orchestrator": ("space", "search", "sweep", "status", "run", "cluster", "plan", "analysis", "commands", "cli"),
    "results": (("stats", "rows"), "verdicts", "figures", ("report", "submission")),
    "trainer.audit": ("source", "facts", "effects", "walk", "findings", "static_audit", ("smoke", "evaluators")),
}
"""Rooms from the lowest floor to the highest: each imports only itself and what stands before it."""
BESIDE = {"orchestrator": ("output", "functions"), "results": (), "trainer.audit": ()}
"""Modules beside the lowest floor: every room may import them, they import no room."""
TORCH_FREE = (
    "trainer.store",
    "trainer.store.shared",
    "trainer.stages.run_record",
    "trainer.stages.checked_data",
    "trainer.data.corpus",
    "trainer.data.shard_files",
    "trainer.scoring.ledger_summary",
    "trainer.audit.static_audit",
    "trainer.audit.findings.static_report",
    "trainer.audit.smoke.smoke",
    "trainer.program",
    "trainer.program.run_program",
)
LATE = (
    "trainer.stages.pipeline",
    "trainer.stages.context",
    "trainer.worker_group",
    "trainer.cli",
    "trainer.audit.evaluators.behaviour",
    "trainer.audit.evaluators.behaviour_process",
    "trainer.audit.evaluators.behaviour_targets",
)


def modules(*folders: str) -> list[Path]:
    return [path for folder in folders for path in (ROOT / folder).rglob("*.py")]


@functools.cache
def nodes_of(path: Path) -> list[ast.AST]:
    """The syntax of a file, parsed once for all tests."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@functools.cache
def imports(path: Path) -> set[str]:
    """Dotted names a file imports anywhere, top of the file or inside a function."""
    names = set()
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module}
    return names


def of(names: set[str], *packages: str) -> set[str]:
    return {name for name in names if any(name == package or name.startswith(f"{package}.") for package in packages)}


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_do_not_import_each_other(room):
    allowed = ("trainer.spec", "trainer.ranks", f"trainer.{room}")
    for path in modules(f"trainer/{room}"):
        ours = of(imports(path), "trainer", "orchestrator", "results")
        assert ours == of(ours, *allowed), f"{path} reaches outside its room"


def test_the_ground_floor_knows_nobody_above_it():
    for path in modules("trainer/spec"):
        names = imports(path)
        assert of(names, "trainer", "orchestrator", "results") == of(names, "trainer.spec"), path
        assert not of(names, "torch", "ray"), path


def test_trainer_never_imports_upwards():
    for path in modules("trainer"):
        assert not of(imports(path), "orchestrator", "results"), path


def test_the_store_knows_paper_alone():
    for path in modules("trainer/store"):
        names = imports(path)
        assert of(names, "trainer", "orchestrator", "results") == of(names, "trainer.spec", "trainer.store"), path
        assert not of(names, "torch", "ray"), path


def test_the_audit_of_scripts_knows_paper_alone():
    for path in modules("trainer/audit"):
        names = imports(path)
        allowed = ("trainer.spec", "trainer.audit", *(["trainer.program.supervised"] if path.stem == "smoke" else []))
        if path.parent.name != "evaluators":
            assert of(names, "trainer", "orchestrator", "results") == of(names, *allowed), path
        if path.parent.name != "evaluators" and path.stem not in ("smoke_child", "stand_ins"):
            assert not of(names, "torch", "ray"), path


def test_results_stand_on_paper_and_the_store():
    for path in modules("results"):
        names = imports(path)
        assert of(names, "trainer", "orchestrator") == of(names, "trainer.spec", "trainer.store"), path
        assert not of(names, "torch", "ray"), path


def test_the_orchestrator_reaches_the_trainer_by_few_doors():
    for path in modules("orchestrator"):
        names = imports(path)
        doors = ("trainer.spec", *TORCH_FREE, *LATE)
        assert of(names, "trainer") == of(names, *doors), path
        assert not of(names, "torch"), path


def folder_of(package: str) -> str:
    return package.replace(".", "/")


def rooms_of(floor: str | tuple[str, ...]) -> tuple[str, ...]:
    return (floor,) if isinstance(floor, str) else floor


@pytest.mark.parametrize("package", FLOORS)
def test_rooms_import_only_the_floors_below(package):
    below = list(BESIDE[package])
    for floor in FLOORS[package]:
        for room in rooms_of(floor):
            allowed = [f"{package}.{name}" for name in (*below, room)]
            for path in modules(f"{folder_of(package)}/{room}") or [ROOT / folder_of(package) / f"{room}.py"]:
                ours = of(imports(path), package)
                assert ours == of(ours, *allowed), f"{path} imports {sorted(ours - of(ours, *allowed))}"
        below += rooms_of(floor)


@pytest.mark.parametrize("package", FLOORS)
def test_every_module_is_in_a_room(package):
    rooms = {room for floor in FLOORS[package] for room in rooms_of(floor)}
    folder = folder_of(package)
    there = {path.relative_to(ROOT / folder).parts[0].removesuffix(".py") for path in modules(folder)}
    assert there - {"__init__", "__main__"} == rooms | set(BESIDE[package])


@pytest.mark.parametrize(
    ("package", "owner"),
    [
        ("ray.tune", "orchestrator/run/tuner.py"),
        ("ray.train", "trainer/worker_group.py"),
        ("torch.distributed", "trainer/ranks.py"),
        ("fsspec", "trainer/store/bucket.py"),
    ],
)
def test_one_file_knows_it(package, owner):
    knowing = {
        str(path.relative_to(ROOT))
        for path in modules("trainer", "orchestrator", "results")
        if of(imports(path), package) or (package == "ray.tune" and "from ray import tune" in path.read_text())
    }
    assert knowing == {owner}


def test_only_the_ledger_opens_validation_shards():
    opening = {
        str(path.relative_to(ROOT))
        for path in modules("trainer", "orchestrator", "results")
        for node in nodes_of(path)
        if isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", "")) in {"read_split", "read_shard"}
        and any(isinstance(argument, ast.Constant) and argument.value == "val" for argument in node.args)
    }
    assert opening == {"trainer/scoring/legality.py"}


@pytest.mark.parametrize(
    "module",
    [
        "orchestrator.cli",
        "orchestrator.run.driver",
        "results.rows.row",
        "trainer.cli",
        "trainer.store.shared",
        *TORCH_FREE,
    ],
)
def test_importing_starts_neither_torch_nor_ray(module):
    code = (
        f"import sys, {module}; print(sorted({{'torch', 'ray', 'optuna', 'matplotlib', 'fsspec'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_the_driver_and_the_processes_that_ray_starts_for_it_load_no_torch():
    """Each would take 2 s of a core longer, before the first run begins."""
    modules = "orchestrator.run.tuner, orchestrator.run.board, trainer.worker_group"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_what_stands_below_is_reached_by_name_in_two_documented_places_alone():
    by_name = {
        str(path.relative_to(ROOT))
        for path in modules("orchestrator", "results", "trainer")
        if 'import_module("' in path.read_text(encoding="utf-8")
    }
    assert by_name == {"orchestrator/functions.py", "results/__init__.py"}


HEAVY = {"pydantic", "numpy", "pandas", "scipy.special", "scipy.stats", "scipy.optimize", "matplotlib", "torch", "ray"}
NEVER = HEAVY - {"pydantic", "numpy", "pandas"} | {"unittest", "numpy.f2py.crackfortran"}


@pytest.mark.parametrize(
    ("command", "left_out"),
    [
        ("--help", HEAVY),
        ("sweep --help", HEAVY - {"pydantic"}),  # Typer itself checks arguments by it
        ("list", HEAVY - {"pydantic", "numpy"}),
        ("table small", NEVER | {"pyarrow.lib"}),
        ("table bought", NEVER | {"results.verdicts.compare", "orchestrator.space.search_space"}),
        ("compare small", NEVER | {"pyarrow.lib", "optuna", "orchestrator.analysis.explanation"}),
        ("compare small --format json", NEVER | {"orchestrator.analysis.next_steps"}),
        ("plan {space}", NEVER | {"pandas"}),
        ("plan {space} --store {empty}", NEVER | {"pandas"}),
    ],
)
def test_a_command_imports_only_what_it_needs(small_store, command, left_out):
    places = {"space": small_store / "small.yaml", "empty": small_store / "empty"}
    words = ["orchestrator", *command.format(**places).split()]
    words += [] if {"--help", "--store"} & {*words} else ["--store", str(small_store)]
    code = (
        f"import sys; sys.argv = {words}\nfrom orchestrator.cli import main\ntry: main()\nexcept SystemExit: pass\n"
        f"print(sorted({left_out} & set(sys.modules)))\n"
        "from trainer.spec.field_docs import _described_in; print(_described_in.cache_info().currsize)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    imported, sources_parsed = done.stdout.splitlines()[-2:]
    assert (imported, sources_parsed) == ("[]", "0"), done.stderr


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="a process's threads are counted in /proc")
@pytest.mark.parametrize("command", ["table small", "compare small"])
def test_a_command_that_reads_starts_no_threads_of_numpy(small_store, command):
    """It would start one for each core as it is imported, which takes a tenth of the command's processor time."""
    words = ["orchestrator", *command.split(), "--store", str(small_store)]
    code = (
        f"import os, sys; sys.argv = {words}\nfrom orchestrator.cli import main\ntry: main()\nexcept SystemExit: pass\n"
        "names = [open(f'/proc/self/task/{thread}/comm').read() for thread in os.listdir('/proc/self/task')]\n"
        "print(names.count(open('/proc/self/comm').read()))"  # the allocator of pyarrow names its own
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "1", done.stderr


@pytest.fixture(scope="module")
def small_store(tmp_path_factory) -> Path:
    store = tmp_path_factory.mktemp("small")
    finished_sweep(store)
    table = store / "bought.csv"
    table.write_text("config,seed,val_bpb\n" + "".join(f"{c},{seed},1.{seed}\n" for c in "ab" for seed in (1, 2, 3)))
    words = ["import", str(table), "--name", "bought", "--store", str(store)]
    subprocess.run([sys.executable, "-m", "orchestrator", *words], capture_output=True, cwd=ROOT, check=True)
    return store


def test_no_knob_is_read_from_the_environment():
    for path in modules("trainer", "results"):
        if path in (ROOT / "trainer/program/invocation.py", ROOT / "trainer/spec/launched.py"):
            continue  # hands a program its PATH, its GPUs and what its user lists; reads which rank torchrun made this
        assert "os.environ" not in path.read_text(encoding="utf-8"), path
        assert "getenv" not in path.read_text(encoding="utf-8"), path


def test_files_stay_readable_in_one_sitting():
    long = {
        str(path): n
        for path in modules("trainer", "orchestrator", "results", "tests")
        if (n := len(path.read_text(encoding="utf-8").splitlines())) > 420
    }
    assert not long


COMMANDS = {"cli", "status", "sweep"}
"""Modules named like the room or program that their command calls; every other name stands once."""


def test_no_two_rooms_have_a_module_of_one_name():
    names = [path.stem for path in modules("orchestrator", "results", "trainer") if not path.stem.startswith("__")]
    assert {name for name in names if names.count(name) > 1} == COMMANDS


def test_no_circle_of_imports_exists_late_ones_included():
    paths = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in modules(*FLOORS, "trainer")}
    graph = {name: modules_imported(path) & paths.keys() - {name} for name, path in paths.items()}
    assert list(TopologicalSorter(graph).static_order())


def modules_imported(path: Path) -> set[str]:
    """Dotted names that may be modules: `from a.b import c` may import the module a.b or a.b.c."""
    nodes = [node for node in nodes_of(path) if isinstance(node, ast.ImportFrom)]
    return imports(path) | {f"{node.module}.{item.name}" for node in nodes for item in node.names}
