"""Search spaces that run a program: what is taken as it is, what is refused and why, what makes another run."""

import json
from pathlib import Path

import pytest

from orchestrator.space.configuration import baseline_of, grid_of
from orchestrator.space.json_schema import schema_of_space
from orchestrator.space.load_space import load_space
from orchestrator.space.search_space import SearchSpace
from orchestrator.space.sections import SpaceError
from trainer.program.invocation import Place, command_of, configuration_of, environment_of
from trainer.program.reader import Reader
from trainer.spec.errors import UserError
from trainer.spec.program import Program
from trainer.spec.yaml_text import YamlText

PLAIN = """
program: train.py
pass: env
metric: {name: val_loss}
seeds: [1, 2]
parameters:
  LR: {values: [0.1, 0.2]}
  WIDTH: {value: 64}
"""
WANDB = """
program: train.py
project: mine
method: bayes
$schema: https://api.wandb.ai/schema.json
metric: {name: val/loss, goal: minimize, target: 0.1}
early_terminate: {type: hyperband, min_iter: 3}
parameters:
  lr: {distribution: log_uniform_values, min: 1e-4, max: 1e-1}
  layers: {distribution: int_uniform, min: 1, max: 4}
  dropout: {distribution: uniform, min: 0, max: 1}
  batch: {distribution: q_uniform, min: 8, max: 64, q: 8}
  fast: {values: [true, false]}
  optimizer: {parameters: {momentum: {value: 0.9}}}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train.py").write_text("import helper, json\nfrom pkg import deep\nprint('val_loss: 1')\n")
    (tmp_path / "helper.py").write_text("import numpy\n")
    (tmp_path / "unrelated.py").write_text("print(1)\n")
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg/__init__.py").write_text("")
    (tmp_path / "pkg/deep.py").write_text("")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.bin").write_bytes(bytes(100))
    return tmp_path


def loaded(folder: Path, text: str, **said) -> SearchSpace:
    (folder / "sweep.yaml").write_text(text, encoding="utf-8")
    return load_space(folder / "sweep.yaml", **said)


def program_of(folder: Path, text: str, **said) -> Program:
    program = loaded(folder, text, **said).program
    assert program is not None
    return program


def complaint(folder: Path, text: str, **said) -> str:
    with pytest.raises(SpaceError) as caught:
        loaded(folder, text, **said)
    return str(caught.value)


PLACE = Place(Path("/work"), Path("/tmp"), 20001, 8)


def test_code_is_the_script_and_what_it_imports_from_its_folder(folder):
    assert sorted(program_of(folder, PLAIN).code) == ["helper.py", "pkg/__init__.py", "pkg/deep.py", "train.py"]


def test_what_has_one_value_is_the_baseline_s_too(folder):
    space = loaded(folder, PLAIN + "set: {STEPS: 5}\n", overrides={"DEPTH": 2})
    assert space.recipe(baseline_of(space).values).values == {"STEPS": 5, "WIDTH": 64, "DEPTH": 2}
    assert [item.values["LR"] for item in grid_of(space)] == [0.1, 0.2]
    assert space.swept_keys == ("LR",)


def test_a_wandb_file_is_taken_as_it_is_and_says_what_it_leaves_out(folder):
    space = loaded(folder, WANDB)
    assert (space.method, space.run_cap, space.metric.name) == ("tpe", 20, "val/loss")
    left_out = ["early_terminate", "project", "metric.target", "$schema"]
    assert [note.partition(":")[0] for note in space.remarks[:4]] == left_out
    assert "run_cap is not given" in space.remarks[4]
    unnamed = loaded(folder, PLAIN.replace("metric: {name: val_loss}\n", "")).remarks
    assert "metric is not given, so val_bpb is looked for" in unnamed[0]
    other = loaded(folder, PLAIN + "metrics: {val_los: 'val_loss (NUMBER)'}\n").remarks
    assert "val_loss, which configurations are compared by, is none of `metrics` (val_los); did you mean" in other[0]
    assert not space.parameters["dropout"].integer
    assert list(space.parameters["batch"].choices or ()) == [8, 16, 24, 32, 40, 48, 56, 64]
    chosen = {"lr": 0.01, "layers": 2, "fast": True, "optimizer.momentum": 0.9}
    program = space.recipe(chosen, seed=7)
    assert isinstance(program, Program)
    words = command_of(program, "run", PLACE)
    assert words[1:] == ["train.py", "--optimizer.momentum=0.9", "--lr=0.01", "--layers=2", "--fast=True", "--seed=7"]


def test_a_wandb_command_has_wandb_s_macros(folder):
    command = "['${env}', python, '${program}', fixed, '${args_no_boolean_flags}', '${args_json}', 'w${lr}']"
    program = program_of(folder, WANDB + f"command: {command}\n").with_knobs({"lr": 0.5, "fast": False, "seed": 3})
    words = command_of(program, "run", PLACE)
    assert words[:4] == ["/usr/bin/env", "python", "train.py", "fixed"]
    assert words[4:7] == ["--optimizer.momentum=0.9", "--lr=0.5", "--seed=3"]
    assert json.loads(words[7]) == {"optimizer.momentum": 0.9, "lr": 0.5, "fast": False, "seed": 3}
    assert words[8] == "w0.5"


def test_a_false_knob_is_a_no_flag_where_the_command_asks_for_it(folder):
    program = program_of(folder, WANDB + "command: [python, train.py, '${args_on_off_flags}']\n")
    flags = [command_of(program.with_knobs({"fast": fast}), "run", PLACE)[3] for fast in (True, False)]
    assert flags == ["--fast", "--no-fast"]


def test_a_script_that_may_not_be_executed_is_started_as_its_first_line_says(folder):
    def started(name: str, content: str) -> tuple[str, ...]:
        (folder / name).write_text(content)
        return program_of(folder, PLAIN.replace("train.py", name)).command[:-1]

    assert started("run it.sh", "echo 1\n") == ("sh", "./${program}")
    assert started("run.pl", "#!/usr/bin/env perl\n") == ("/usr/bin/env", "perl", "./${program}")
    (folder / "run.js").write_text("print(1)")
    assert "write chmod +x run.js, or a command: [INTERPRETER" in complaint(folder, PLAIN.replace("train.py", "run.js"))
    (folder / "run.js").chmod(0o755)
    assert started("run.js", "print(1)") == ("./${program}",)


def test_a_command_that_names_files_from_another_folder_than_the_script_s_is_refused(folder):
    (folder / "scripts").mkdir()
    (folder / "scripts/go.py").write_text("")
    text = PLAIN.replace("program: train.py", "program: scripts/go.py\ncommand: [python, scripts/go.py]")
    assert "write ${program} for the script, or leave out program: and it runs in the folder of" in complaint(
        folder, text
    )
    assert program_of(folder, text.replace("program: scripts/go.py\n", "")).root == str(folder)
    assert program_of(folder, text.replace("[python, scripts/go.py]", "[python, '${program}']")).script == "go.py"


def test_a_file_whose_name_has_a_space_names_its_sweep_by_hyphens(folder):
    (folder / "my sweep (2).yaml").write_text(PLAIN)
    assert load_space(folder / "my sweep (2).yaml").name == "my-sweep-2"


def test_knobs_are_changed_in_the_configuration_that_lies_beside_the_script(folder):
    text = PLAIN.replace("pass: env", "pass: file") + "  model.width: {value: 8}\n"
    alone = program_of(folder, text)
    (folder / "config.json").write_text(json.dumps({"model": {"width": 4, "depth": 2}, "LR": 1, "seed": 0}))
    program = program_of(folder, text)
    assert "config.json" in program.code  # so it is part of the fingerprint
    assert configuration_of(program, "run", folder) == {"model": {"width": 8, "depth": 2}, "LR": 1, "seed": 0} | {
        "WIDTH": 64
    }
    assert configuration_of(alone, "run", folder / "data") == {"model.width": 8, "WIDTH": 64, "seed": 0}
    (folder / "config.json").write_text("lr: 1")
    with pytest.raises(UserError, match="config.json is no JSON"):
        configuration_of(program, "run", folder)


@pytest.mark.parametrize(("printed", "number"), [("1,234.5", 1234.5), ("12,345,678", 12345678), ("1,23", 1), ("5", 5)])
def test_number_takes_thousands_that_commas_part(folder, printed, number):
    program = program_of(folder, PLAIN + "metrics: {val_loss: 'loss: (NUMBER)'}\n")
    reader = Reader({"metrics": {"val_loss": [program.metrics["val_loss"][0].model_dump()]}})
    reader.feed(f"loss: {printed}\n")
    assert reader.metrics == {"val_loss": number}


def test_naming_another_file_for_a_number_runs_again_since_the_file_was_not_kept(folder):
    made = [
        program_of(folder, PLAIN + f"metrics: {{val_loss: {source}}}\n").fingerprints("")
        for source in ("'(NUMBER)'", "'loss (NUMBER)'", "{file: a.json, key: loss}", "{file: a.json, key: val}")
    ]
    assert made[0] == made[1] != made[2] == made[3]


def test_the_environment_holds_what_is_declared_and_nothing_else(folder, monkeypatch):
    monkeypatch.setenv("SECRET", "x")
    monkeypatch.setenv("TOKEN", "y")
    program = program_of(folder, PLAIN + "env: {OMP_NUM_THREADS: 2}\ninherit: [TOKEN]\n")
    variables = environment_of(program.with_knobs({"LR": 0.1, "FAST": True, "seed": 5}), "run", PLACE)
    wanted = {"LR": "0.1", "FAST": "1", "SEED": "5", "WIDTH": "64", "OMP_NUM_THREADS": "2", "TOKEN": "y"}
    assert {key: variables.get(key) for key in wanted} == wanted
    assert "SECRET" not in variables
    assert (variables["HOME"], variables["MASTER_PORT"]) == ("/work", "20001")


def test_torchrun_starts_a_process_for_each_gpu_of_the_slot(folder):
    program = program_of(folder, PLAIN + "launch: torchrun\n")
    assert "--nproc-per-node=8" in command_of(program, "run", PLACE)
    assert command_of(program, "run", PLACE)[-1] == "train.py"


STAGES = PLAIN + "stages: [{name: train, reads: [LR], leaves: m.pt}, {name: evaluate, reads: [WIDTH]}]\n"


@pytest.mark.parametrize(
    ("changed", "stages"),
    [
        ({"LR": 0.3}, {"train", "evaluate"}),
        ({"WIDTH": 32}, {"evaluate"}),
        ({"seed": 9}, {"train", "evaluate"}),
    ],
)
def test_a_knob_changes_the_stages_that_read_it_and_those_after(folder, changed, stages):
    program = program_of(folder, STAGES)
    before, after = (item.fingerprints("here") for item in (program, program.with_knobs(changed)))
    assert {name for name in before if before[name] != after[name]} == stages


def test_code_listed_files_and_machine_change_every_stage_but_patterns_and_limits_none(folder):
    text = STAGES + "files: [data]\n"
    before = program_of(folder, text).fingerprints("here")
    patterns = program_of(folder, text + "metrics: {val_loss: 'x=(NUMBER)'}\nlimits: {seconds: 5}\n")
    assert patterns.fingerprints("here") == before
    (folder / "unrelated.py").write_text("print(2)\n")
    assert program_of(folder, text).fingerprints("here") == before
    assert before["train"] != program_of(folder, text).fingerprints("there")["train"]
    for name in ("data/a.bin", "helper.py"):
        (folder / name).write_bytes(b"import numpy  # other")
        changed = program_of(folder, text).fingerprints("here")
        assert not set(changed.values()) & set(before.values()), name
        before = changed


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("train.py", "trian.py"), "program = 'trian.py': there is no such file; did you mean 'train.py'?"),
        (("pass: env", "pass: envs"), "pass = 'envs' is unknown; did you mean 'env'?"),
        (("pass: env", "passs: env"), "passs is unknown; did you mean 'pass'?"),
        (("pass: env", "format: parameter-gulf"), "is unknown; did you mean 'parameter-golf'?"),
        (("pass: env", "limits: {second: 5}"), "limits.second is unknown; did you mean 'seconds'?"),
        (("pass: env", "limits: {bytes: {file: a, at_mots: 5}}"), "at_mots is unknown; did you mean 'at_most'?"),
        (("pass: env", "limits: {bytes: {file: a}}"), "limits.bytes.at_most is missing"),
        (("pass: env", "limits: {bytes: {file: /a, at_most: 5}}"), "file = '/a' must lie in the working folder"),
        (("pass: env", "stages: [{reads: [LR]}]"), "stages.0.name is missing"),
        (("pass: env", "metrics: {val_loss: 3}"), "must be a pattern, or {key: NAME}, or a list of these"),
        (("pass: env", "limits: {eval_s: 60}"), "limits.eval_s: nothing tells how long it evaluates; add metrics"),
        (("pass: env", "limits: 60"), "limits = 60 must be a mapping; for example: {seconds: 600}"),
        (("pass: env", "constraints: {val_loss: 3}"), "must be a mapping; for example: {max: 3}"),
        (("pass: env", "curve: 'step (\\d+)'"), "curve needs the groups step and loss: (?P<step>"),
        (("{value: 64}", ""), "parameters.WIDTH = null must be a mapping; for example: {values: [1, 2]}"),
        (("seeds:", "seed:"), "seed is unknown; did you mean 'seeds'?"),
        (("program:", "progra:"), "progra is unknown; did you mean 'program'? ("),
        (("pass: env", "metrics: {val_loss: 'loss ([0-9'}"), "is no regular expression"),
        (("pass: env", "metrics: {val_loss: 'loss 1'}"), "has no group; put brackets around the number"),
        (("pass: env", "files: [dta]"), "files: 'dta' is no file and no folder with files in"),
        (("pass: env", "files: [../x]"), "leads out of"),
        (("pass: env", "command: 'python ${program}'"), "holds no ${args}, so no knob would reach the program"),
        (("pass: env", "command: 'python ${programm} ${args}'"), "${programm} is no macro and no knob"),
        (("pass: env", "command: 'python t.py -l ${LR}'"), "${LR} has no value in the baseline, which is the program"),
        (("pass: env", "stages: [{name: a, reads: [LR]}]"), "WIDTH is read by no stage"),
        (("pass: env", "stages: [{name: a, reads: [RL]}]"), "names RL, which is no knob of this file; did you mean"),
        (("pass: env", "preset: tiny"), "preset belongs to our trainer"),
        (("LR:", "'L R':"), "L R cannot name an environment variable"),
        (("pass: env", "inherit: [\"A\\nrm x\"]"), "inherit: 'A\\nrm x' cannot name an environment variable"),
        (("pass: env", "env: {A=B: 1}"), "env: 'A=B' cannot name an environment variable"),
        (("LR:", "steps:"), "steps is a column of every table; give the knob another name here"),
        (("LR:", "SEED: {values: [1, 2]}\n  LR:"), "seeds are not swept"),
        (("pass: env", "compare: {baseline: {RL: 1}}"), "RL is no knob of this file; did you mean 'LR'?"),
        (("pass: env", "constraints: {accuracy: {min: 1}}"), "constraints.accuracy is no column of the table"),
        (("pass: env", "stopping: {rule: asha}"), "nothing is known of shorter schedules of a program"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_what_to_write_instead(folder, change, expected):
    assert PLAIN.replace(*change) != PLAIN
    said = complaint(folder, PLAIN.replace(*change))
    assert expected in said
    assert "sweep.yaml" in said


@pytest.mark.parametrize(
    ("key", "meant"),
    [("programm: train.py", "program"), ("script: train.py", "program"), ("comand: [python, '${args}']", "command")],
)
@pytest.mark.parametrize("beside", ["metrics: {val_loss: 'loss (NUMBER)'}", "env: {A: 1}", ""])
def test_a_misspelled_key_of_the_script_is_the_only_complaint_whatever_stands_beside_it(folder, key, meant, beside):
    """`metrics`, which W&B has too, was refused first, with a recipe's keys."""
    said = complaint(folder, PLAIN.replace("program: train.py\npass: env", f"{key}\n{beside}"))
    assert said.splitlines()[1:] == [
        f"  {key.split(':')[0]} is unknown; did you mean '{meant}'? ({folder}/sweep.yaml:2:1)"
    ]


def test_metrics_with_patterns_belong_to_a_program_also_where_nothing_names_one(folder):
    said = complaint(folder, PLAIN.replace("program: train.py\npass: env", "metrics: {val_loss: 'loss (NUMBER)'}"))
    assert said.splitlines()[1:] == ["  program: names neither script nor command; for example: program: train.py"]


def test_a_list_that_is_one_value_and_a_name_that_is_no_folder_are_taken_and_noted(folder):
    space = loaded(folder, PLAIN.replace("{value: 64}", "{value: [64, 128]}") + "name: My sweep!\n")
    assert space.name == "My-sweep"
    assert "parameters.WIDTH: the list is one value; to try each of its parts, write values: [64, 128]" in space.notes
    assert "name: 'My sweep!' is My-sweep here, where it names a folder" in space.notes


def test_a_knob_that_a_command_writes_out_may_have_its_value_in_the_baseline(folder):
    text = PLAIN.replace("pass: env", "command: 'python t.py -l ${LR}'\ncompare: {baseline: {LR: 0.3}}")
    assert loaded(folder, text).compare.baseline == {"LR": 0.3}


def test_paths_that_the_code_names_and_the_file_does_not_list_are_noted(folder):
    (folder / "helper.py").write_text("open('./data/a.bin')\nopen('logs/out.txt', 'w')\nprint('a/b. c', 'helper.py')\n")
    by_args = PLAIN.replace("pass: env", "pass: args")
    (note,) = loaded(folder, by_args).notes
    assert note.startswith("train.py names data/a.bin, beside it and not listed")
    assert "files: [data/a.bin]" in note
    assert loaded(folder, by_args + "files: [data]\n").notes == ()
    leaving = "stages: [{name: train, leaves: data/a.bin}, {name: score}]\n"  # a run by hand left it there
    assert loaded(folder, by_args + leaving).notes == ()


def test_a_variable_that_stands_nowhere_in_the_code_is_noted_with_the_nearest(folder):
    (folder / "helper.py").write_text("import os\nLR = os.environ['LR']\nWIDTHS = os.environ['WIDTHS']\n")
    space = loaded(folder, PLAIN, overrides={"LRR": 1})
    assert [note for note in space.notes if "stands nowhere" in note] == [
        "WIDTH stands nowhere in train.py or what it imports; did you mean 'WIDTHS'?",
        "LRR stands nowhere in train.py or what it imports; did you mean 'LR'?",
        "the seed is given as SEED, which stands nowhere in train.py or what it imports: where it is not read, seeds "
        "only repeat; seed_key: NAME names another",
    ]
    by_args = PLAIN.replace("pass: env", "pass: args")  # of which the program says so itself
    assert loaded(folder, by_args).notes == ()


def test_a_date_is_a_text_as_it_is_written(folder):
    space = loaded(folder, PLAIN.replace("[0.1, 0.2]", "[2026-03-01, 2026-13-45]"))
    assert space.parameters["LR"].values == ["2026-03-01", "2026-13-45"]


def test_a_seed_on_the_command_line_is_told_where_seeds_stand(folder):
    with pytest.raises(SpaceError, match=r"--set.SEED: seeds are not swept: .* write seeds: \[1337, 42\]"):
        loaded(folder, PLAIN, overrides={"SEED": 3})
    with pytest.raises(SpaceError, match="--set.seed: seeds are not swept"):
        loaded(folder, PLAIN.replace("pass: env", "pass: args"), overrides={"seed": 3})


def test_the_keys_stand_at_the_top_or_together_below_program(folder):
    below = PLAIN.replace("program: train.py\npass: env", "program: {script: train.py, pass: env}")
    assert loaded(folder, below).identity() == loaded(folder, PLAIN).identity()
    assert "pass stands at the top of the file and below program" in complaint(folder, below + "pass: args\n")


def test_a_format_is_a_preset_that_the_file_may_change(folder):
    golf = "program: train.py\nformat: parameter-golf\nseeds: [1, 2]\nmetrics: {steps: 'n=(NUMBER)'}\n"
    program = program_of(folder, golf)
    assert (program.knobs_by, program.seed_key) == ("env", "SEED")
    assert {"val_bpb", "val_loss", "total_bytes", "train_s"} < set(program.metrics)
    assert program.metrics["steps"][0].pattern is not None
    assert program.metrics["steps"][0].pattern.startswith("n=(")
    assert program_of(folder, golf + "pass: args\nseed_key: s\n").seed_key == "s"


def test_a_margin_is_in_the_unit_of_the_metric_where_the_scores_are_not_both_told(folder):
    plain = loaded(folder, PLAIN).compare
    assert (plain.margin, plain.unit) == (0.0, "nats")
    both = loaded(folder, PLAIN + "metrics: {val_bpb: 'b=(NUMBER)', val_loss: 'l=(NUMBER)'}\n").compare
    assert (both.margin, both.unit) == (0.005, "nats")


def test_the_schema_takes_programs_and_their_free_knobs():
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    judge = jsonschema.Draft202012Validator(schema_of_space())
    for text in (PLAIN, WANDB, STAGES, PLAIN + "metrics: {a: x, b: [{key: c}, y]}\nlimits: {seconds: 3}\n"):
        judge.validate(YamlText(text, "file").value)
    assert not judge.is_valid(YamlText(PLAIN + "limits: {secs: 3}\n", "file").value)
