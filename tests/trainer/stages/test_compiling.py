"""Compiled training is the same training: its warm-up leaves no trace, and its graphs are those of the schedule."""

import math

import pytest
import torch

from tests.fakes import HandClock
from tests.trainer.stages.conftest import fitted, small
from trainer.optim.first_order import AdamW
from trainer.spec.budget import RESERVED_CODE_BYTES
from trainer.spec.errors import UserError
from trainer.stages.compiling import Compiler, Variant, compiler_for, drop_graphs, is_compiled, variants
from trainer.stages.context import Interrupted, StageContext
from trainer.stages.run_record import fingerprints_of
from trainer.stages.train import initial_model, train_model
from trainer.store.local import StageStore

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SMALLEST = {
    "model__num_layers": 2,
    "model__recur_loops": 1,
    "model__recur_first": 1,
    "model__recur_last": 1,
    "averaging__ema_decay": 0.5,
}
PLAIN, LOOPED = Variant(False, False), Variant(True, False)


def trained(text_store, folder, compile, recipe_of=small, **hooks):
    """What a training leaves, by file, and what it reports; captured graphs have the operators of eager execution."""
    recipe = recipe_of(**SMALLEST, system__compile=compile)
    store = StageStore(text_store)
    context = StageContext(recipe, "run", store, fingerprints_of(recipe, 1) | hooks.pop("stages", {}), **hooks)
    context.compiler = "eager"
    folder.mkdir(exist_ok=True)
    metrics = train_model(context, folder, initial_model(recipe, CPU))
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}, metrics


@pytest.fixture
def eager(text_store, tmp_path):
    return trained(text_store, tmp_path / "eager", "off")[0]


def test_weights_and_averages_are_those_of_eager_steps_in_every_bit(text_store, tmp_path, eager):
    drop_graphs()
    files, metrics = trained(text_store, tmp_path / "compiled", "on")
    assert set(files) == {"last.safetensors", "swa.safetensors", "ema.safetensors"}
    assert files == eager
    assert (metrics["graphs"], metrics["graphs_inside_clock"]) == (2, 0)


def test_the_next_training_of_a_slot_compiles_nothing(text_store, tmp_path, eager):
    drop_graphs()
    trained(text_store, tmp_path / "first", "on")
    files, metrics = trained(text_store, tmp_path / "second", "on")
    assert (metrics["graphs"], metrics["graphs_inside_clock"]) == (0, 0)
    assert files == eager


def test_neither_compiling_nor_the_steps_of_the_warm_up_count_as_training(text_store, tmp_path, monkeypatch):
    clock = HandClock()

    def takes(seconds, method):
        return lambda *arguments: (clock.advance(seconds), method(*arguments))[1]

    monkeypatch.setattr(Compiler, "__call__", takes(100.0, Compiler.__call__))
    monkeypatch.setattr(AdamW, "step", takes(1.0, AdamW.step))
    drop_graphs()
    metrics = trained(text_store, tmp_path / "c", "on", clock=clock)[1]
    assert metrics["train_s"] == metrics["steps"] == 6
    assert clock.now_s == 2 * 100 + 2 + 6


def test_a_compiler_sees_the_rotary_tables_of_all_layers_as_one_operation():
    recipe, called = small(**SMALLEST), []

    def backend(graph, inputs):
        called.extend(str(node.target) for node in graph.graph.nodes if node.op.startswith("call"))
        return graph

    hidden = torch.compile(initial_model(recipe, CPU).hidden, backend=backend, fullgraph=True, dynamic=False)
    hidden(torch.zeros(1, 8, dtype=torch.int64))
    assert [name for name in called if "rotary" in name or "cos" in name] == ["fairway.rotary_tables.default"]


def test_graphs_are_dropped_before_torch_refuses_to_make_more():
    drop_graphs()
    first = compiler_for(small(**SMALLEST), "eager")
    for width in range(3):
        assert compiler_for(small(**SMALLEST, model__rope_base=10.0 + width), "eager") is first  # 2 graphs each, of 8
    assert compiler_for(small(**SMALLEST), "eager") is first
    assert compiler_for(small(**SMALLEST, model__rope_base=99.0), "eager") is not first


def test_scales_chosen_during_training_act_in_the_graphs_that_were_made_before(text_store, tmp_path):
    def recipe_of(**changes):
        limit = RESERVED_CODE_BYTES + 60_000  # two layers take more
        late = {"quantization__qat": "late", "quantization__qat_late_below": 0.9}
        return fitted(**late, budget__artifact_bytes=limit, **changes)

    (eager, seen), (compiled, metrics) = (
        trained(text_store, tmp_path / compile, compile, recipe_of) for compile in ("off", "on")
    )
    assert compiled == eager
    assert metrics["scale_multiplier"] == seen["scale_multiplier"] > 1
    assert metrics["graphs_inside_clock"] == 0


def test_a_compiled_training_goes_on_from_its_snapshot(text_store, tmp_path, eager):
    looks = iter(range(100))
    stages = {"train": "continued"}
    with pytest.raises(Interrupted):
        trained(text_store, tmp_path / "c", "on", stages=stages, stopping=lambda: next(looks) == 3)
    files, metrics = trained(text_store, tmp_path / "c", "on", stages=stages, snapshot_every_s=math.inf)
    assert metrics["continued_at_step"] == 3
    assert files == eager


def test_the_graphs_are_those_that_the_schedule_can_reach():
    assert variants(small()) == [LOOPED]
    assert variants(small(**SMALLEST)) == [PLAIN, LOOPED]
    assert variants(small(**SMALLEST, model__recur_at=0.0)) == [LOOPED]
    late = variants(small(**SMALLEST, quantization__qat="late"))
    assert late == [PLAIN, Variant(False, True), LOOPED, Variant(True, True)]
    assert variants(small(quantization__qat="always")) == [Variant(True, True)]


def test_it_compiles_by_itself_on_gpus_where_training_repays_the_graphs():
    wall_clock = small(budget__train_s=600.0)
    assert is_compiled(wall_clock, GPU)
    assert not is_compiled(wall_clock, CPU)
    assert not is_compiled(small(), GPU)
    assert is_compiled(small(budget__train_steps=500), GPU)
    assert not is_compiled(small(budget__train_steps=999, **SMALLEST), GPU)  # with and without recurrence
    assert is_compiled(small(system__compile="on"), CPU)
    assert not is_compiled(small(budget__train_s=600.0, system__compile="off"), GPU)


def test_where_nothing_can_be_compiled_the_message_says_what_to_do(text_store, tmp_path, monkeypatch):
    def no_compiler(self, graph, inputs):
        raise RuntimeError("C++ compiler not found")

    drop_graphs()
    monkeypatch.setattr(Compiler, "__call__", no_compiler)
    with pytest.raises(UserError, match=r"C\+\+ compiler not found; use system.compile = 'off'"):
        trained(text_store, tmp_path / "c", "on")


def test_steps_without_recurrence_never_move_its_switch(text_store, tmp_path):
    seen = set()
    recipe = small()
    context = StageContext(recipe, "run", StageStore(text_store), fingerprints_of(recipe, 1))
    model = initial_model(recipe, CPU)
    model.blocks[0].register_forward_pre_hook(lambda *_: seen.add(model.looped))
    train_model(context, tmp_path, model)
    assert len(seen) == 1
