"""Search space files: what is read, what is refused, and in which words."""

import json
from pathlib import Path

import pytest

from orchestrator.space.json_schema import schema_of_space
from orchestrator.space.load_space import load_space
from orchestrator.space.search_space import SearchSpace
from orchestrator.space.sections import SpaceError
from tests.orchestrator.spaces import TTT, space_of
from trainer.spec.load import preset_names
from trainer.spec.recipe_schema import schema_of_recipe
from trainer.spec.yaml_text import YamlText

ROOT = Path(__file__).parents[3]
SHIPPED = sorted((ROOT / "search_spaces").glob("*.yaml"))
WANDB = """
name: wandb-example
method: bayes
metric: {name: val_bpb, goal: minimize}
parameters:
  optimizer:
    parameters:
      muon:
        parameters:
          lr: {distribution: log_uniform_values, min: 1e-4, max: 1e-1}
          weight_decay: {min: 0.0, max: 0.2}
          momentum_warmup_steps: {min: 10, max: 60}
  averaging.use: {values: [swa, none]}
run_cap: 20
"""


def complaints(folder: Path, text: str, **said) -> str:
    with pytest.raises(SpaceError) as caught:
        space_of(folder, text, **said)
    return str(caught.value)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_space_loads_and_prints_what_it_varies(path):
    space = load_space(path)
    assert space.name == path.stem
    assert space.description.endswith("?")


def test_a_wandb_file_loads_once_it_is_put_to_a_preset(tmp_path):
    space = space_of(tmp_path, WANDB, preset="tiny")
    assert space.method == "tpe"
    assert set(space.parameters) == {
        "optimizer.muon.lr",
        "optimizer.muon.weight_decay",
        "optimizer.muon.momentum_warmup_steps",
        "averaging.use",
    }
    assert space.parameters["optimizer.muon.lr"].log
    assert space.parameters["optimizer.muon.momentum_warmup_steps"].integer
    assert not space.parameters["optimizer.muon.weight_decay"].integer


def test_what_is_left_out_has_the_usual_values(tmp_path):
    space = space_of(tmp_path, "preset: tiny\nparameters: {model.rope_base: {values: [1e3, 1e4]}}")
    assert (space.name, space.method, space.seeds) == ("space", "grid", (1337, 42, 2025))
    assert (space.metric.name, space.metric.goal) == ("val_bpb", "minimize")
    assert (space.compare.margin, space.compare.unit, space.compare.alpha) == (0.005, "nats", 0.01)
    assert space.compare.baseline == {}


def test_a_range_without_a_method_is_searched_by_tpe(tmp_path):
    text = "preset: tiny\nrun_cap: 4\nparameters: {optimizer.muon.lr: {min: 0.01, max: 0.1}}"
    assert space_of(tmp_path, text).method == "tpe"


def test_the_command_line_changes_preset_seeds_cap_and_recipe(tmp_path):
    said = {"preset": "pr150_v21", "seeds": [7], "trials": 3, "overrides": {"budget.train_s": 60.0}}
    space = space_of(tmp_path, TTT, **said)
    assert (space.preset, space.seeds, space.run_cap) == ("pr150_v21", (7,), 3)
    assert space.base.budget.train_s == 60.0


def test_seeds_alone_are_a_search_space(tmp_path):
    space = space_of(tmp_path, "preset: tiny\nseeds: {values: [1, 2, 3]}")
    assert list(space.combinations()) == [{}]
    assert space.swept_keys == ()


def test_a_grid_runs_the_last_parameter_fastest(tmp_path):
    text = """
preset: tiny
parameters:
  schedule.min_multiplier: {values: [0.0, 0.1]}
  model.rope_base: {values: [1e3, 1e4]}
"""
    grid = [tuple(values.values()) for values in space_of(tmp_path, text).combinations()]
    assert grid == [(0.0, 1e3), (0.0, 1e4), (0.1, 1e3), (0.1, 1e4)]


def test_a_conditional_parameter_exists_only_where_its_condition_holds(tmp_path):
    text = """
preset: tiny
parameters:
  ttt.lr: {values: [0.001, 0.002], when: {ttt.mode: score_first}}
  ttt.mode: {values: [off, score_first]}
"""
    assert list(space_of(tmp_path, text).combinations()) == [
        {"ttt.mode": "off"},
        {"ttt.mode": "score_first", "ttt.lr": 0.001},
        {"ttt.mode": "score_first", "ttt.lr": 0.002},
    ]


def test_a_condition_may_be_a_list_and_may_look_at_the_preset(tmp_path):
    text = """
preset: tiny
parameters:
  averaging.use: {values: [swa, none]}
  averaging.swa_below: {values: [0.2, 0.4], when: {averaging.use: [swa, ema], model.num_layers: 4}}
"""
    assert space_of(tmp_path, text).size == 3


def test_swept_keys_are_those_that_differ_from_the_baseline_too(tmp_path):
    assert space_of(tmp_path, TTT).swept_keys == ("ttt.mode", "ttt.lr", "ttt.epochs")


def test_a_space_survives_its_plain_form(tmp_path):
    space = space_of(tmp_path, TTT + "constraints: {eval_s: {max: 600}}", overrides={"data.order_seed": 3})
    again = SearchSpace.model_validate_json(json.dumps(space.model_dump(mode="json")))
    assert again == space
    assert again.identity_digest() == space.identity_digest()


def test_a_space_prints_its_parts(tmp_path):
    printed = str(space_of(tmp_path, TTT))
    assert "preset tiny, tpe, 5 configurations, seeds [1, 2]" in printed
    assert "ttt.lr: 0.0005 .. 0.02 (log_uniform_values)" in printed
    assert "against ttt.mode = off" in printed


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (("[1, 2]", "[1, 3]"), "seeds"),
        (("run_cap: 5", "run_cap: 6"), "run_cap"),
        (("[1, 2, 3]", "[1, 2]"), "parameters (ttt.epochs)"),
        (("method: tpe", "method: random"), "method"),
        (("seeds:", "metric: {name: val_loss}\nseeds:"), "metric"),
        (("seeds:", "constraints: {eval_s: {max: 9}}\nseeds:"), "constraints"),
        (("{ttt.mode: off}", "{}"), "baseline"),
    ],
)
def test_another_search_space_is_distinguished_by_the_part_that_differs(tmp_path, change, part):
    space, other = space_of(tmp_path, TTT), space_of(tmp_path, TTT.replace(*change))
    assert space.identity_digest() != other.identity_digest()
    assert space.difference(other) == part


def test_another_recipe_is_another_search_space(tmp_path):
    space, other = space_of(tmp_path, TTT), space_of(tmp_path, TTT, overrides={"model.rope_base": 5e4})
    assert space.difference(other) == "recipe (model.rope_base)"


def test_thresholds_prices_and_words_do_not_change_the_identity(tmp_path):
    said = "description: hm\nbudget: {gpu_hours: 3}\nname: other"
    other = TTT.replace("name: ttt", said).replace("{baseline:", "{margin: 0.1, baseline:")
    assert space_of(tmp_path, TTT).difference(space_of(tmp_path, other)) == ""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("run_cap", "runcap"), "runcap is unknown; did you mean 'run_cap'?"),
        (("ttt.lr:", "ttt.rl:"), "parameters.ttt.rl is no recipe key; did you mean 'ttt.lr'?"),
        (("ttt.lr:", "lr:"), "parameters.lr is no recipe key; did you mean"),
        (("ttt.lr:", "optimizer.muon:"), "parameters.optimizer.muon is a section; sweep one of its keys, for example"),
        (("[1, 2, 3]", "[]"), "parameters.ttt.epochs: values = [] is empty"),
        (("[1, 2, 3]", "[1, 1]"), "parameters.ttt.epochs: values names 1 twice"),
        (("[1, 2, 3]", "[1, 1.0]"), "parameters.ttt.epochs: values names 1 twice"),
        (("[1, 2, 3]", "[1, 0]"), "ttt.epochs = 0 must be greater than 0"),
        (("[1, 2, 3]", "[1, 2.5]"), "ttt.epochs = 2.5 must be an integer"),
        (("[1, 2, 3]", "[1, '2']"), "ttt.epochs = '2' must be an integer; it is text, so remove the quotes"),
        (("min: 5e-4", "min: 1"), "parameters.ttt.lr: min = 1 exceeds max = 0.02"),
        (("min: 5e-4", "min: 0.0"), "min = 0.0 must be greater than 0, for log_uniform_values draws the logarithm"),
        (("min: 5e-4", "min: '5e-4'"), "ttt.lr.min = '5e-4' must be a number; it is text, so remove the quotes"),
        (("min: 5e-4,", ""), "parameters.ttt.lr: min is missing beside max"),
        (("log_uniform_values", "log_uniform"), "log_uniform takes exponents"),
        (("log_uniform_values", "categorical"), "distribution = categorical needs values, not min/max"),
        (("log_uniform_values", "int_uniform"), "distribution = int_uniform needs integers"),
        (("max: 2e-2", "max: 2e-2, mxa: 3"), "parameters.ttt.lr.mxa is unknown; did you mean 'max'?"),
        (("{values: [1, 2, 3]}", "3"), "parameters.ttt.epochs = 3 must be a mapping; for example: {value: 3}"),
        (("{values: [1, 2, 3]}", "{}"), "parameters.ttt.epochs: declares no values"),
        (("{values: [", "{value: 1, values: ["), "declares its values twice: value and values; keep one"),
        (("run_cap: 5", "run_cap: 0"), "run_cap = 0 must be greater than 0"),
        (("run_cap: 5", ""), "run_cap is missing: method tpe would never end; for example run_cap: 20"),
        (("method: tpe", "method: grid"), "a grid cannot list 0.0005 .. 0.02 (log_uniform_values); give values"),
        (("method: tpe", "method: baysian"), "method = 'baysian' is unknown; did you mean 'bayes'?"),
        (("method: tpe", "method: cmaes"), "method = cmaes needs at least two parameters with min and max"),
        (("seeds: [1, 2]", "seeds: [1, 1]"), "seeds names 1 twice; a repeated seed adds no information"),
        (("seeds: [1, 2]", "seeds: [1, a]"), "seeds.1 = 'a' must be a whole number"),
        (("seeds: [1, 2]", "seeds: [1, 2.5]"), "seeds.1 = 2.5 must be a whole number"),
        (("seeds:", "metric: val_loss\nseeds:"), "must be a mapping; for example: {name: val_loss}"),
        (("seeds: [1, 2]", "seeds: 3"), "seeds = 3 must be a list; for example: [1337, 42, 2025]"),
        (("run_cap: 5", "run_cap: many"), "run_cap = 'many' must be a whole number"),
        (("seeds:", "description: [x]\nseeds:"), "description = ['x'] must be a text"),
        (("seeds:", "constraints: {eval_s: 3}\nseeds:"), "constraints.eval_s = 3 must be a mapping"),
        (("seeds: [1, 2]", "seeds: []"), "seeds = [] is empty"),
        (("seeds: [1, 2]", "seeds: [1, 2147483648]"), "seeds: 2147483648 must be less than 2147483648"),
        (("  ttt.lr:", "  seed: {values: [1]}\n  ttt.lr:"), "parameters.seed: seeds are not swept"),
        (("preset: tiny", "preset: tinny"), "preset 'tinny' is unknown; did you mean 'tiny'?"),
        (("preset: tiny", ""), "preset is missing; for example: preset: tiny, or --preset tiny"),
        (("name: ttt", "name: my sweep"), "it names a folder; write name: my-sweep"),
        (("seeds:", "metric: {name: val_bbp}\nseeds:"), "'val_bbp' is no column of the table; did you mean 'val_bpb'?"),
        (("seeds:", "metric: {goal: minimise}\nseeds:"), "goal = 'minimise' is unknown; did you mean 'minimize'?"),
        (("seeds:", "constraints: {eval: {max: 1}}\nseeds:"), "constraints.eval is no column of the table"),
        (("seeds:", "constraints: {eval_s: {}}\nseeds:"), "constraints.eval_s: max or min is missing"),
        (("{ttt.mode: off}", "{ttt.mod: off}"), "compare.baseline: ttt.mod is no recipe key; did you mean 'ttt.mode'?"),
        (("{ttt.mode: off}", "{ttt.mode: on}"), "compare.baseline: ttt.mode = 'on' is unknown"),
        (("{ttt.mode: off}", "{ttt.lr: 0.1}"), "compare.baseline: ttt.lr has no effect while ttt.mode is off"),
        (("{ttt.mode: off}}", "{}, alpha: 2}"), "compare.alpha = 2 must lie between 0 and 1"),
        (("score_first", "off"), "ttt.lr has no effect while ttt.mode is off; give ttt.mode another value"),
        (("seeds:", "program: train.py\nseeds:"), "program = 'train.py': there is no such file"),
        (("seeds:", "early_terminate: {type: hyperband}\nseeds:"), "prune configurations after short schedules"),
        (("seeds:", "stopping: {rule: race}\nseeds:"), "tpe chooses them by their scores; choose method: random"),
        (("seeds:", "stopping: {rule: rice}\nseeds:"), "stopping.rule = 'rice' is unknown; did you mean 'race'?"),
        (("seeds:", "stopping: {rule: race, first_look: 1}\nseeds:"), "stopping.first_look = 1 must be at least 2"),
        (("seeds:", "stopping: {rule: race, alfa: 1}\nseeds:"), "stopping.alfa is unknown; did you mean 'alpha'?"),
        (("seeds:", "data.val_bytes: 3\nseeds:"), "data.val_bytes is unknown; recipe keys stand under `parameters:`"),
        (("  ttt.lr:", "  data.val_bytes: {values: [1, 2]}\n  ttt.lr:"), "different texts cannot be compared"),
        (("  ttt.lr:", "  budget.eval_s: {values: [1.0, 2.0]}\n  ttt.lr:"), "budget.eval_s changes no result"),
        (("  ttt.lr:", "  optimizer.muon.lr: {min: 1, max: 2}\n  ttt.lr:"), "would draw integers alone, but the key"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_what_to_write_instead(tmp_path, change, expected):
    assert TTT.replace(*change) != TTT
    assert expected in complaints(tmp_path, TTT.replace(*change))


def test_an_unknown_key_of_the_baseline_is_named_also_in_a_race(tmp_path):
    text = TTT.replace("{ttt.mode: off}", "{ttt.mod: off}").replace("seeds:", "stopping: {rule: race}\nseeds:")
    assert "compare.baseline: ttt.mod is no recipe key" in complaints(tmp_path, text)


def test_a_complaint_points_at_line_and_column(tmp_path):
    message = complaints(tmp_path, TTT.replace("[1, 2, 3]", "[1, 0]"))
    assert message.endswith("ttt.epochs = 0 must be greater than 0 (" + str(tmp_path / "space.yaml") + ":10:3)")


def test_a_nested_parameter_is_pointed_at_where_it_stands(tmp_path):
    message = complaints(tmp_path, WANDB.replace("weight_decay", "weight_decoy"), preset="tiny")
    assert (
        "parameters.optimizer.muon.weight_decoy is no recipe key; did you mean 'optimizer.muon.weight_decay'?"
        in message
    )
    assert "space.yaml:11:11" in message


def test_all_mistakes_are_reported_at_once(tmp_path):
    text = TTT.replace("ttt.lr:", "ttt.rl:").replace("[1, 2]", "[1, 1]").replace("[1, 2, 3]", "[0]")
    message = complaints(tmp_path, text + "runcap: 3\n")
    assert message.startswith("4 problems in ")


def test_a_mistake_on_the_command_line_is_blamed_on_it(tmp_path):
    assert "(--seeds)" in complaints(tmp_path, TTT, seeds=[1, 1])
    assert "(--trials)" in complaints(tmp_path, TTT, trials=0)
    assert "(--preset)" in complaints(tmp_path, TTT, preset="tinny")
    assert "--set ttt.lr would be overwritten by parameters.ttt.lr" in complaints(
        tmp_path, TTT, overrides={"ttt.lr": 1.0}
    )
    assert "--set seed: a sweep declares its seeds" in complaints(tmp_path, TTT, overrides={"seed": 1})
    unknown = complaints(tmp_path, TTT, overrides={"ttt.rl": 1.0})
    assert "ttt.rl is no recipe key; did you mean 'ttt.lr'? (--set ttt.rl=1.0)" in unknown


def test_nothing_to_vary_is_refused(tmp_path):
    assert "nothing varies" in complaints(tmp_path, "preset: tiny\nseeds: [1]")
    assert "nothing varies" in complaints(tmp_path, "preset: tiny\nseeds: [1]\nparameters:")


def test_a_knob_without_effect_under_one_value_of_a_swept_switch_needs_a_condition(tmp_path):
    text = TTT.replace("{value: score_first}", "{values: [off, score_first]}")
    message = complaints(tmp_path, text)
    assert "ttt.lr has no effect while ttt.mode is off; give it when: {ttt.mode: score_first}" in message
    condition = ", when: {ttt.mode: score_first}}"
    space_of(tmp_path, text.replace("max: 2e-2}", f"max: 2e-2{condition}").replace("3]}", f"3]{condition}"))


def test_a_condition_that_never_holds_is_refused(tmp_path):
    message = complaints(tmp_path, TTT.replace("3]}", "3], when: {ttt.mode: score_frist}}"))
    assert "when: ttt.mode is never score_frist; it takes: score_first" in message


def test_conditions_in_a_circle_are_refused(tmp_path):
    text = """
preset: tiny
parameters:
  model.ln_scale: {values: [true, false], when: {model.tie_embeddings: true}}
  model.tie_embeddings: {values: [true, false], when: {model.ln_scale: true}}
"""
    assert "a circle, so none of them can be chosen first" in complaints(tmp_path, text)


def test_values_that_do_not_go_together_are_refused_before_anything_runs(tmp_path):
    text = """
preset: tiny
parameters:
  evaluation.stride_tokens: {values: [64, 256]}
  evaluation.window_tokens: {values: [128, 256]}
"""
    assert "stride_tokens = 256 exceeds evaluation.window_tokens = 128" in complaints(tmp_path, text)


@pytest.mark.parametrize(
    ("metric", "switch"), [("roundtrip_bpb", "evaluation.diagnose"), ("fit_cost_bpb", "quantization.fit_bytes")]
)
def test_a_metric_of_the_diagnosis_needs_the_diagnosis(tmp_path, metric, switch):
    text = TTT.replace("seeds:", f"metric: {{name: {metric}}}\nseeds:")
    message = complaints(tmp_path, text, overrides={"evaluation.diagnose": False})
    assert f"metric.name = {metric} needs {switch} = true" in message
    fitting = {"evaluation.diagnose": False, "quantization.fit_bytes": True}
    assert space_of(tmp_path, text, overrides=fitting).metric.name == metric


def test_broken_yaml_and_missing_files_are_people_s_mistakes(tmp_path, monkeypatch):
    assert "not valid YAML" in complaints(tmp_path, "a: [")
    assert "the file holds no mapping" in complaints(tmp_path, "- a")
    (tmp_path / "ttt.yaml").write_text(TTT)
    with pytest.raises(SpaceError, match=r"there is no such file; did you mean '.*ttt\.yaml'"):
        load_space(tmp_path / "tt.yaml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpaceError, match=r"did you mean 'ttt\.yaml'"):
        load_space("tt.yaml")


def test_the_schema_accepts_what_ships_and_refuses_a_misspelled_key():
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    judge = jsonschema.Draft202012Validator(schema_of_space())
    for path in SHIPPED:
        judge.validate(YamlText(path.read_text(), str(path)).value)
    judge.validate(YamlText(WANDB, "wandb").value)
    assert not judge.is_valid({"parameters": {"ttt.rl": {"value": 1}}})
    assert not judge.is_valid({"parameters": {"ttt.lr": {"valeu": 1}}})


def test_the_recipe_schema_accepts_every_preset_and_tells_units():
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    schema = schema_of_recipe()
    for name in preset_names():
        path = ROOT / "trainer" / "spec" / "presets" / f"{name}.yaml"
        jsonschema.validate(json.loads(json.dumps(YamlText(path.read_text(), name).value)), schema)
    chunk = schema["$defs"]["TTT"]["properties"]["chunk_tokens"]
    assert (chunk["x-unit"], chunk["x-stages"]) == ("tokens", ["adapt"])
    assert not jsonschema.Draft202012Validator(schema).is_valid({"ttt": {"rl": 1}})


OWN_TEXT = TTT + "set: {data.val_bytes: 2000}\n"


def test_what_set_changes_holds_for_the_baseline_too_and_set_on_the_command_line_changes_it_again(tmp_path):
    space = space_of(tmp_path, OWN_TEXT, overrides={"data.order_seed": 3})
    assert space.recipe(space.compare.baseline).data.val_bytes == space.base.data.val_bytes == 2000
    assert space.overrides == {"data.val_bytes": 2000, "data.order_seed": 3}
    assert space_of(tmp_path, OWN_TEXT, overrides={"data.val_bytes": 9}).base.data.val_bytes == 9
    assert "data.val_bytes" not in space.swept_keys


@pytest.mark.parametrize(
    ("set_", "expected"),
    [
        ("{ttt.lr: 1.0}", "set.ttt.lr would be overwritten by parameters.ttt.lr"),
        ("{seed: 1}", "set.seed: a sweep declares its seeds; use seeds: [1, 2, 3]"),
        ("{ttt.rl: 1.0}", "set.ttt.rl is no recipe key; did you mean 'ttt.lr'?"),
        ("{data.val_bytes: -1}", "set.data.val_bytes = -1 must be at least 0"),
    ],
)
def test_a_wrong_key_of_set_is_named_with_its_line(tmp_path, set_, expected):
    message = complaints(tmp_path, TTT + f"set: {set_}\n")
    assert expected in message
    assert "space.yaml:" in message
    assert "--set" not in message


def test_a_preset_file_is_looked_for_beside_the_space_and_its_parent_beside_it(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "base.yaml").write_text("extends: tiny\nmodel: {num_layers: 3}\n")
    (tmp_path / "mine" / "child.yaml").write_text("extends: base.yaml\ndata: {order_seed: 4}\n")
    monkeypatch.chdir("/")
    base = space_of(tmp_path, TTT.replace("preset: tiny", "preset: mine/child.yaml")).base
    assert (base.model.num_layers, base.data.order_seed) == (3, 4)


@pytest.mark.parametrize(
    "changes",
    [
        ("ttt.mode: {value: score_first}", "ttt.mode: {value: score_first}\n  data.val_bytes: {value: 20000}"),
        ("{ttt.mode: off}", "{ttt.mode: off, data.val_bytes: 20000}"),
    ],
)
def test_a_baseline_that_scores_another_text_than_the_configurations_is_refused(tmp_path, changes):
    message = complaints(tmp_path, TTT.replace(*changes))
    assert "scores on different texts cannot be compared; what holds for both is written once: set: " in message
    assert "120000" in message


def test_own_data_of_the_configurations_alone_is_refused_before_a_machine_could_look_drifted(tmp_path):
    own = "ttt.mode: {value: score_first}"
    for key, value in (("source", "shards"), ("folder", "/d"), ("tokenizer", "/t.model")):
        own += f"\n  data.{key}: {{value: {value}}}"
    message = complaints(tmp_path, TTT.replace("ttt.mode: {value: score_first}", own))
    assert "data.source is shards in the configurations and stdlib in the baseline" in message


def test_a_space_prints_what_set_changes_and_null_as_null(tmp_path):
    printed = str(space_of(tmp_path, TTT.replace("[1, 2, 3]", "[1, 2]"), overrides={"data.order_seed": None}))
    assert "with data.order_seed = null" in printed
    assert "data.order_seed: null | 7" in str(
        space_of(tmp_path, TTT.replace("ttt.epochs: {values: [1, 2, 3]}", "data.order_seed: {values: [null, 7]}"))
    )
