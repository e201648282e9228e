"""A whole run, from text to record, on one rank."""

import errno
import json
import multiprocessing
import re
import resource
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from results.rows.row import row_of
from tests.trainer.stages.conftest import FITTED, TTT, fitted, run, small
from trainer.scoring.ledger_summary import LEDGER_FILE, digest_of, order_complaints
from trainer.spec.budget import RESERVED_CODE_BYTES
from trainer.spec.errors import StoreFull
from trainer.spec.recipe import Recipe
from trainer.stages import pipeline
from trainer.stages.context import Interrupted
from trainer.stages.run_record import RunRequest, adopt, fingerprints_of
from trainer.stages.weights import save_weights
from trainer.store.checksums import compute_checksums, write_checksums
from trainer.store.local import StageStore


def files(store, stage: str) -> dict[str, bytes]:
    """What a stage left, without the clock's part of it."""
    (folder,) = [path for path in (store / "stages" / stage).iterdir() if path.is_dir()]
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".safetensors", ".bin")}


def test_a_run_ends_in_a_record_of_all_its_stages(text_store):
    record = run(text_store, small(), "again")
    assert list(record.stages) == ["train_text", "val_text", "train", "export", "evaluate"]
    assert record.metric("evaluate", "val_bpb") < record.metric("val_text", "uniform_bpb")
    assert record.within_budget is True
    assert record.metric("evaluate", "legal") is True


def test_counted_bytes_are_the_utf8_length_of_the_validation_text(text_store):
    record = run(text_store, small(), "again")
    assert record.metric("evaluate", "num_bytes") == record.metric("val_text", "num_bytes")
    assert record.metric("evaluate", "num_tokens") == record.metric("val_text", "num_tokens") - 1


def test_the_counted_size_is_the_size_on_disk(text_store):
    record = run(text_store, small(), "again")
    folder = StageStore(text_store).folder("export", record.stages["export"].fingerprint)
    assert record.metric("export", "model_bytes") == (folder / "artifact.bin").stat().st_size


def test_same_recipe_and_seed_give_the_same_bits(fresh_store):
    stores = [fresh_store("one"), fresh_store("two")]
    records = [
        run(store, small(**{"seed": 5}, **{k.replace(".", "__"): v for k, v in TTT.items()})) for store in stores
    ]
    for stage in ("train", "export", "evaluate", "adapt"):
        assert files(stores[0], stage) == files(stores[1], stage), stage
    assert [records[0].metric("adapt", name) for name in ("val_bpb", "ledger_digest")] == [
        records[1].metric("adapt", name) for name in ("val_bpb", "ledger_digest")
    ]


def test_a_run_after_another_equals_the_run_alone(fresh_store):
    alone, after = fresh_store("alone"), fresh_store("after")
    run(after, small(seed=1), "before")
    torch.rand(3)  # somebody else's use of the global generator
    run(alone, small(seed=2))
    run(after, small(seed=2))
    fingerprint = fingerprints_of(small(seed=2), 1)["train"]
    left = [load_file(store / "stages" / "train" / fingerprint / "last.safetensors") for store in (alone, after)]
    assert all(torch.equal(left[0][name], left[1][name]) for name in left[0])


def test_another_seed_gives_other_weights(fresh_store):
    store = fresh_store("seeds")
    losses = [run(store, small(seed=seed), f"s{seed}").metric("train", "train_loss") for seed in (1, 2)]
    assert losses[0] != losses[1]


def test_a_ttt_setting_reuses_the_trained_artifact(text_store):
    changes = {key.replace(".", "__"): value for key, value in TTT.items()}
    record = run(text_store, small(**changes), "ttt")
    assert record.stages_run == ("adapt",)
    assert record.headline == "adapt"


def test_every_scored_run_leaves_its_ledger_with_the_digest_of_its_row(text_store):
    changes = {key.replace(".", "__"): value for key, value in TTT.items()}
    for record, events in (
        (run(text_store, small(), "sliding-s1337"), ["score"]),
        (run(text_store, small(**changes | {"ttt__chunk_tokens": 128}), "ttt-s1337"), ["score", "train", "score"]),
    ):
        stage = record.stages[record.headline]
        folder = StageStore(text_store).folder(stage.stage, stage.fingerprint)
        summary = json.loads((folder / LEDGER_FILE).read_text())
        row = row_of(record.model_dump(), "sweep", [])
        assert row["ledger_digest"] == digest_of(summary)
        assert order_complaints(summary) == []
        assert (summary["tokens"], summary["bytes"]) == (row["val_tokens"], row["val_bytes"])
        assert [kind for kind, *_ in summary["ranks"][0]["events"]][: len(events)] == events


def test_the_score_comes_from_the_bytes_on_disk(fresh_store, text_store):
    store = fresh_store("other-bytes")
    first = run(text_store, small(), "again")
    recipe = small()
    for stage in ("train", "export"):
        fingerprint = first.stages[stage].fingerprint
        (store / "stages" / stage).mkdir()
        source = text_store / "stages" / stage / fingerprint
        target = store / "stages" / stage / fingerprint
        target.mkdir()
        for path in source.iterdir():
            (target / path.name).write_bytes(path.read_bytes())
    other = run(fresh_store("donor"), small(seed=9), "donor")
    donor = fresh_store("donor2").parent / "donor" / "stages" / "export" / other.stages["export"].fingerprint
    exported = store / "stages" / "export" / first.stages["export"].fingerprint
    (exported / "artifact.bin").write_bytes((donor / "artifact.bin").read_bytes())
    write_checksums(exported, compute_checksums(exported))
    assert run(store, recipe).metric("evaluate", "val_bpb") == other.metric("evaluate", "val_bpb")


def test_8_3_e7_training_needs_no_validation_text(fresh_store):
    from trainer.stages.context import StageContext
    from trainer.stages.train import train

    store = fresh_store("no-val")
    (store / "stages" / "val_text").unlink()
    recipe = small()
    context = StageContext(recipe, "run", StageStore(store), fingerprints_of(recipe, 1))
    assert train(context, store)["steps"] == 6


def test_a_finished_run_is_adopted_without_computing(text_store):
    request = RunRequest.of("adopted", "tiny", small(), text_store / "records" / "adopted.json")
    record = adopt(request, StageStore(text_store), 1)
    assert record is not None
    assert record.stages_run == ()
    assert adopt(RunRequest.of("x", "tiny", small(seed=77), text_store / "x.json"), StageStore(text_store), 1) is None


def test_an_artifact_over_the_limit_is_a_failed_row_with_its_numbers(text_store):
    record = run(text_store, small(budget__artifact_bytes=70_000), "fat")
    assert record.status == "failed"
    assert "exceeds budget.artifact_bytes = 70,000" in record.error
    assert record.within_budget is False
    assert record.metric("export", "model_bytes") > 0


def test_an_evaluation_over_its_budget_is_cut_short_and_tried_again_only_under_a_larger_one(fresh_store, text_store):
    store = fresh_store("slow")
    slow = small(budget__eval_s=1e-9)
    assert re.search(
        r"its time is used up before every position was scored, 0 of \d+ .*\(budget.eval_s = 1e-09 s\)",
        run(store, slow, "slow").error,
    )
    assert "did not end within" in run(store, slow, "slow-again").error
    assert run(store, small(), "patient").status == "done"


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "result"])
def test_a_damaged_stage_is_computed_anew_and_only_that_one(fresh_store, damage):
    store = fresh_store("damaged")
    before = run(store, small(), "before")
    folder = StageStore(store).folder("export", before.stages["export"].fingerprint)
    target = folder / ("result.json" if damage == "result" else "artifact.bin")
    whole = target.read_bytes()
    changed = {"truncated": whole[:-9], "missing": None}.get(damage, whole[:200] + b"0" + whole[201:])
    target.unlink()
    if changed is not None:
        target.write_bytes(changed)
    after = run(store, small(ttt__mode="score_first"), "after")
    assert "export" in after.stages_run
    assert not {"train", "evaluate"} & set(after.stages_run)
    assert StageStore(store).find_intact("export", folder.name) == after.stages["export"]


def test_no_snapshot_is_a_failed_row_that_says_what_to_change(fresh_store):
    record = run(fresh_store("none"), small(averaging__swa_below=0.0))
    assert record.status == "failed"
    assert "raise swa_below, or set averaging.use to none" in record.error


def test_an_interrupted_run_leaves_no_record_but_its_finished_stages(fresh_store):
    store = fresh_store("stopped")
    asked = []

    def stopping() -> bool:
        asked.append(1)
        return (store / "stages" / "train").exists() and len(
            list((store / "stages" / "train").glob("*/result.json"))
        ) > 0

    with pytest.raises(Interrupted):
        run(store, small(), "stopped", stopping=stopping)
    assert not (store / "records" / "stopped.json").exists()
    assert run(store, small(), "stopped").stages_run == ("export", "evaluate")


@pytest.mark.parametrize("stage", ["train", "evaluate", "adapt", "diagnose"])
def test_a_request_to_stop_is_an_interruption_in_every_stage(fresh_store, stage):
    seen = []
    changes = {key.replace(".", "__"): value for key, value in TTT.items()} | {"evaluation__diagnose": True}
    with pytest.raises(Interrupted):
        run(
            fresh_store(stage),
            small(**changes),
            report=lambda progress: seen.append(progress.stage),
            stopping=lambda: stage in seen,
        )


def test_data_paths_travel_as_absolute_ones():
    shards = small(data__source="shards", data__folder="here", data__tokenizer="here/t.model")
    data = RunRequest.of("x", "tiny", shards, Path("x.json")).recipe["data"]
    assert Path(data["folder"]) == Path("here").absolute()
    assert Path(data["tokenizer"]) == Path("here/t.model").absolute()


def test_training_that_diverges_says_so(fresh_store):
    record = run(fresh_store("diverged"), small(optimizer__adam__embed_lr=1e30))
    assert record.status == "failed"
    assert "training diverged: the loss of step" in record.error


def test_the_first_record_stands(text_store):
    path = text_store / "records" / "kept.json"
    first = run(text_store, small(), "kept")
    run(text_store, small(), "kept")
    assert json.loads(path.read_bytes())["started_at"] == first.started_at


@pytest.mark.parametrize(
    "changes",
    [
        {"averaging.use": "ema", "averaging.ema_decay": 0.5},
        {"quantization.qat": "always"},
        {"data.loader": "sequential"},
        {"model.tie_embeddings": False},
        {"optimizer.muon.ns_coefficients": "polar_express", "optimizer.muon.row_normalize": True},
        {"model.compute_dtype": "bfloat16"},
    ],
    ids=str,
)
def test_every_switch_runs_to_a_score(fresh_store, changes):
    record = run(fresh_store("switch"), small(**{key.replace(".", "__"): value for key, value in changes.items()}))
    assert record.status == "done", record.error


def test_a_request_travels_as_plain_values():
    recipe = small()
    request = RunRequest.of("x", "tiny", recipe, "x.json")
    assert RunRequest(**json.loads(json.dumps(request.as_dict()))).load_recipe() == recipe
    assert isinstance(request.load_recipe(), Recipe)


def run_on_a_full_disk(store, limit_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    try:
        run(store, small(), "full")
    except StoreFull as fault:
        sys.exit(str(fault))


@pytest.mark.parametrize("limit_bytes", [100, 2_000, 50_000])
def test_a_full_disk_is_no_result(fresh_store, limit_bytes):
    store = fresh_store("full")
    run(store, small(), "before")
    shutil.rmtree(store / "stages" / "export")
    child = multiprocessing.get_context("fork").Process(target=run_on_a_full_disk, args=(store, limit_bytes))
    child.start()
    child.join()
    assert child.exitcode == 1
    assert not (store / "records" / "full.json").exists()
    assert not list((store / "stages" / "export").glob("*/result.json"))
    assert run(store, small(), "full").status == "done"


def test_an_artifact_is_pruned_to_fit_and_the_record_says_how_much(text_store):
    plain = run(text_store, small(), "plain").metric("export", "model_bytes")
    limit = RESERVED_CODE_BYTES + int(0.995 * plain)
    record = run(text_store, small(budget__artifact_bytes=limit, quantization__prune_to_fit=True), "pruned")
    assert record.within_budget, record.error
    assert 0 < record.metric("export", "pruned_share") < 1


def test_an_artifact_is_made_to_fit_and_the_record_says_by_how_much(text_store):
    record = run(text_store, fitted(), "fitted")
    assert record.status == "done", record.error
    assert record.stages_run == ("export", "evaluate", "diagnose")
    limit = FITTED["budget.artifact_bytes"]
    assert record.metric("export", "model_bytes") + RESERVED_CODE_BYTES <= limit
    assert record.metric("export", "scale_multiplier") > 1
    assert record.metric("export", "encodings") <= 3
    less = small(**FITTED | {"budget.artifact_bytes": limit - 1000})
    assert run(text_store, less, "less").stages_run[0] == "export"


def test_what_fitting_costs_is_the_score_less_that_of_the_same_weights_without_a_limit(text_store):
    record = run(text_store, fitted(), "fitted")
    unlimited = run(text_store, small(evaluation__diagnose=True), "unlimited").metric("diagnose", "roundtrip_bpb")
    cost_bpb = record.metric("diagnose", "fit_cost_bpb")
    assert cost_bpb == record.metric("diagnose", "roundtrip_bpb") - unlimited != 0
    assert row_of(record.model_dump(mode="json") | {"run_id": "a-s1"}, "sweep", [])["fit_cost_bpb"] == cost_bpb


def test_fitting_what_fits_costs_nothing(text_store):
    record = run(text_store, small(quantization__fit_bytes=True), "roomy")
    assert (record.metric("export", "scale_multiplier"), record.metric("diagnose", "fit_cost_bpb")) == (1.0, 0.0)


@pytest.mark.parametrize("qat", ["always", "late"])
def test_training_saw_the_scales_that_the_fitting_export_stores(text_store, qat):
    record = run(text_store, fitted(quantization__qat=qat, quantization__qat_late_below=0.9), f"{qat}-fitted")
    assert record.status == "done", record.error
    assert record.metric("train", "scale_multiplier") == record.metric("export", "scale_multiplier") > 1
    assert record.metric("export", "encodings") == 1
    assert record.metric("diagnose", "fit_cost_bpb") != 0


def test_scales_that_training_saw_belong_to_its_fingerprint():
    limits = ({"budget__artifact_bytes": limit} for limit in (200_000, 210_000))
    aware, other = (
        fingerprints_of(small(quantization__fit_bytes=True, quantization__qat="late", **limit), 1) for limit in limits
    )
    assert aware["train"] != other["train"]


def test_a_disk_that_fails_for_a_moment_is_no_result(fresh_store, monkeypatch):
    def failing(context, folder):
        raise OSError(errno.EIO, "Input/output error", "shard.bin")

    store = fresh_store("broken")
    monkeypatch.setitem(pipeline.WORK, "evaluate", failing)
    with pytest.raises(StoreFull, match="shard.bin: Input/output error; check the disk, then go on"):
        run(store, small(), "broken")
    assert not (store / "records" / "broken.json").exists()


def test_weights_that_do_not_fit_are_a_fault_of_the_disk():
    with pytest.raises(OSError, match="No space left on device") as raised:
        save_weights(Path("/dev/full"), {"weight": torch.zeros(9)})
    assert raised.value.errno == errno.ENOSPC
