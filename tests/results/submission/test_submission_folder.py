"""A packaged configuration: its script gives its numbers, it verifies, and every change of it is named."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.output import schema_of_rows
from results.submission.manifest import read_submission
from results.submission.rescoring import Rescored
from results.submission.verify_folder import SAME_SCORE, Finding, compared, verify_folder
from tests.orchestrator.test_output import misfits
from tests.results.submission.nano_package import (
    claims,
    copy_of,
    finished_store,
    orchestrator,
    ttt_configuration,
    write_claims,
)
from trainer.scoring.ledger_summary import digest_of, order_complaints
from trainer.spec.errors import UserError

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "planted-aws",
    "WANDB_API_KEY": "planted-wandb",
    "RAY_AUTH_TOKEN": "planted-ray",
    "HF_TOKEN": "planted-hf",
    "MLFLOW_TRACKING_PASSWORD": "planted-mlflow",
    "DATABASE_URL": "postgres://me:planted-database@host/db",
}


@pytest.fixture(scope="module", autouse=True)
def secrets() -> Iterator[None]:
    """Credentials in the environment of all that is done here."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory, secrets) -> Path:
    return finished_store(tmp_path_factory.mktemp("nano"))


@pytest.fixture(scope="module")
def package(store) -> Path:
    folder = store.parent / "package"
    words = ("package", "nano", ttt_configuration(store), "--out", folder, "--store", store, "--format", "json")
    done = orchestrator(*words)
    assert done.exit_code == 0, done.exception
    require_promised("package", json.loads(done.stdout))
    return folder


def require_promised(command: str, rows: list[dict[str, Any]]) -> None:
    """The rows have the columns that `schema rows` promises."""
    promised = schema_of_rows()["commands"][command]["items"]
    assert [misfit for row in rows for misfit in misfits(row, promised)] == []


def test_credentials_of_the_environment_are_in_no_row_log_report_or_package(store, package):
    said = "".join(
        orchestrator(*words, "--store", store).output
        for words in (("table", "nano", "--per", "run", "--format", "json"), ("status", "nano", "--format", "json"),
                      ("report", "nano"), ("show", ttt_configuration(store)))
    )  # fmt: skip
    assert (len(said) > 1000, "planted" in said) == (True, False)
    files = [path for folder in (store, package) for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "report.html" for path in files)
    assert [path for path in files if b"planted" in path.read_bytes()] == []


def test_the_script_trains_in_a_clean_process_to_the_bits_of_the_package(package, store, tmp_path):
    claim = claims(package)
    for pattern in ("train_text/*/*", "val_text/*/fineweb*"):
        for path in (store / "stages").glob(pattern):
            (tmp_path / path.name).symlink_to(path)
    command = [sys.executable, "-I", str(package / "train_gpt.py"), "--data", str(tmp_path), "--seed", "2"]
    command += ["--out", str(tmp_path / "out"), "--json", str(tmp_path / "scores.json")]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    (row,) = json.loads((tmp_path / "scores.json").read_text())
    stated = claim["seed_results"]["2"]
    assert (tmp_path / "out" / "artifact.bin").read_bytes() == (package / "artifact_seed2.bin").read_bytes()
    assert (row["val_bpb"], row["val_loss"]) == (stated["val_bpb"], stated["val_loss"])
    assert row["ledger_digest"] == claim["fairway"]["runs"]["2"]["ledger_digest"]
    assert row["total_bytes"] == stated["artifact_bytes"]


@pytest.mark.slow
def test_two_ranks_of_torchrun_train_and_score_as_one_process(package, store, tmp_path):
    for pattern in ("train_text/*/*", "val_text/*/fineweb*"):
        for path in (store / "stages").glob(pattern):
            (tmp_path / path.name).symlink_to(path)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [*launch, str(package / "train_gpt.py"), "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    stated = claims(package)["seed_results"]["2"]["val_bpb"]
    for words in (["--seed", "2"], ["--evaluate", str(package / "artifact_seed2.bin")]):
        done = subprocess.run([*command, *words, "--json", str(tmp_path / "scores.json")], cwd=tmp_path, check=False)
        assert done.returncode == 0
        (row,) = json.loads((tmp_path / "scores.json").read_text())
        assert row["val_bpb"] == pytest.approx(stated, abs=SAME_SCORE)


def test_a_package_verifies_from_its_folder_alone_bit_for_bit(package, tmp_path):
    done = orchestrator("verify", copy_of(package, tmp_path), "--format", "json")
    findings = json.loads(done.stdout)
    assert done.exit_code == 0, findings
    require_promised("verify", findings)
    scores = [one["words"] for one in findings if one["check"] == "scores"]
    assert len(scores) == 2
    assert all("bit for bit" in words for words in scores)


def test_the_packed_script_is_smaller_and_counts_in_its_place(store, package, tmp_path):
    out = tmp_path / "packed"
    config = ttt_configuration(store)
    done = orchestrator("package", "nano", config, "--out", out, "--store", store, "--code", "packed")
    assert done.exit_code == 0, done.exception
    claim = claims(out)
    assert claim["bytes_code"] == (out / "train_gpt.py").stat().st_size < claims(package)["bytes_code"] / 2
    assert (out / "train_gpt_source.py").read_bytes() == (package / "train_gpt.py").read_bytes()
    assert failed(out) == []
    (out / "train_gpt_source.py").write_bytes(b"import os\n")
    assert "script" in {finding.check for finding in failed(out)}


def test_a_record_on_another_text_is_no_incumbent_that_a_policy_could_judge_by(store, tmp_path):
    words = ("package", "nano", "best", "--out", tmp_path / "out", "--store", store, "--against", "record:549")
    assert orchestrator(*words).exit_code == 0
    claim = claims(tmp_path / "out")["fairway"]["acceptance"]
    assert (claim["answer"], claim["p"]) == ("cannot say", None)
    assert "scored on another text than the record's" in claim["sentence"]
    assert failed(tmp_path / "out") == []


def test_a_package_can_be_imported_as_the_contests_submissions_can(package, tmp_path):
    done = orchestrator("import", package, "--name", "again", "--store", tmp_path)
    assert done.exit_code == 0, done.exception
    rows = json.loads(orchestrator("table", "again", "--format", "json", "--store", tmp_path).stdout)
    assert rows[0]["mean"] == pytest.approx(claims(package)["val_bpb"], abs=1e-12)


def failed(folder: Path) -> list[Finding]:
    found = verify_folder(folder, score=False, order_of=order_complaints)
    return [one for one in found if one.status == "failed"]


Change = Callable[[Path, dict[str, Any]], None]


def changed(name: str, change: Callable[[bytes], bytes]) -> Change:
    """A file with other content, without a word to submission.json."""

    def apply(folder: Path, claim: dict[str, Any]) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return apply


def relisted(name: str, change: Callable[[bytes], bytes]) -> Change:
    """The same, with size and digest listed anew."""

    def apply(folder: Path, claim: dict[str, Any]) -> None:
        content = change((folder / name).read_bytes())
        (folder / name).write_bytes(content)
        entry = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        claim["fairway"]["files"][name] = entry
        if name.startswith("artifact"):
            seed = name.removeprefix("artifact_seed").removesuffix(".bin")
            claim["seed_results"][seed]["model_bytes"] = len(content)

    return apply


def stated(path: str, value: Any) -> Change:
    """Another value in submission.json."""

    def apply(folder: Path, claim: dict[str, Any]) -> None:
        *parents, last = path.split("/")
        node: Any = claim
        for parent in parents:
            node = node[parent]
        node[last] = value(node.get(last)) if callable(value) else value

    return apply


def removed(name: str) -> Change:
    return lambda folder, claim: (folder / name).unlink()


def linked(folder: Path, claim: dict[str, Any]) -> None:
    (folder / "artifact_seed1.bin").unlink()
    (folder / "artifact_seed1.bin").symlink_to(folder / "artifact_seed2.bin")


def swapped(folder: Path, claim: dict[str, Any]) -> None:
    one, two = folder / "artifact_seed1.bin", folder / "artifact_seed2.bin"
    content = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(content)


def with_another_seed(folder: Path, claim: dict[str, Any]) -> None:
    claim["seeds"].append(3)
    claim["seed_results"]["3"] = claim["seed_results"]["1"] | {"val_bpb": 1.0}


def without_a_seed(folder: Path, claim: dict[str, Any]) -> None:
    claim["seeds"].remove(2)
    del claim["seed_results"]["2"], claim["fairway"]["runs"]["2"]


def learned_first(folder: Path, claim: dict[str, Any]) -> None:
    """The order of events and every digest of it."""
    summary = json.loads((folder / "ledger_seed1.json").read_text())
    summary["ranks"][0]["events"].insert(0, ["train", 0, 128])
    relisted("ledger_seed1.json", lambda ledger: json.dumps(summary).encode())(folder, claim)
    old, new = claim["fairway"]["runs"]["1"]["ledger_digest"], digest_of(summary)
    relisted("train_seed1.log", replaced(old.encode(), new.encode()))(folder, claim)
    claim["fairway"]["runs"]["1"]["ledger_digest"] = new


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def without_line(words: bytes) -> Callable[[bytes], bytes]:
    return lambda content: b"".join(line for line in content.splitlines(keepends=True) if words not in line)


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda content: content.replace(old, new)


TAMPERED: dict[str, tuple[Change, str, str]] = {
    "a bit of an artifact": (changed("artifact_seed1.bin", flipped), "files", "artifact_seed1.bin was changed"),
    "an artifact cut off": (changed("artifact_seed1.bin", lambda data: data[:-9]), "files", "artifact_seed1.bin has"),
    "an artifact removed": (removed("artifact_seed2.bin"), "files", "artifact_seed2.bin is missing"),
    "artifacts swapped": (swapped, "files", "artifact_seed1.bin"),
    "an artifact replaced by a link": (linked, "files", "artifact_seed1.bin is a link"),
    "a larger artifact, listed anew": (
        relisted("artifact_seed1.bin", lambda data: data + bytes(9)),
        "bytes",
        "seed 1: artifact_bytes",
    ),
    "code": (changed("train_gpt.py", replaced(b"lr: float = 0.025", b"lr: float = 0.035")), "script", "train_gpt.py"),
    "code, listed anew": (
        relisted("train_gpt.py", replaced(b"lr: float = 0.025", b"lr: float = 0.035")),
        "script",
        "line",
    ),
    "code that hides more": (relisted("train_gpt.py", lambda code: code + b"import os\n"), "script", "lines; expected"),
    "a log's score": (relisted("train_seed1.log", replaced(b"val_bpb:", b"val_bpb:0")), "logs", "train_seed1.log says"),
    "a log's step": (
        relisted("train_seed1.log", lambda log: b"\n".join(log.split(b"\n")[:5] + log.split(b"\n")[6:])),
        "logs",
        "has 5 steps",
    ),
    "a log's steps in words": (relisted("train_seed2.log", replaced(b"step:3/6", b"step:x/6")), "logs", "is no step"),
    "a log removed": (removed("train_seed1.log"), "files", "train_seed1.log is missing"),
    "the mean score": (stated("val_bpb", lambda value: value - 0.01), "statistics", "val_bpb ="),
    "the deviation": (stated("val_bpb_std", 0.0001), "statistics", "val_bpb_std = 0.0001"),
    "a seed's score": (stated("seed_results/1/val_bpb", 1.5), "statistics", "val_bpb"),
    "a seed invented": (with_another_seed, "seeds", "fairway.runs has seeds 1, 2"),
    "a seed hidden": (without_a_seed, "seeds", "artifact_seed2.bin is listed among fairway.files"),
    "code bytes": (stated("bytes_code", 100), "bytes", "bytes_code = 100"),
    "a seed's bytes": (stated("seed_results/1/model_bytes", 100), "bytes", "seed 1: model_bytes = 100"),
    "the largest total": (stated("bytes_total", 100), "statistics", "bytes_total = 100"),
    "the p-value": (stated("fairway/acceptance/p", 1e-9), "statistics", "acceptance.p = 1e-09"),
    "the answer": (stated("fairway/acceptance/answer", "accepted"), "statistics", "acceptance.answer = accepted"),
    "an incumbent's score": (
        lambda folder, claim: claim["fairway"]["acceptance"]["scores"][0].update(val_bpb=9.0),
        "statistics",
        "acceptance",
    ),
    "a recipe's value": (stated("fairway/recipe/optimizer/muon/lr", 0.5), "script", "train_gpt.py line"),
    "a recipe's limit": (stated("fairway/recipe/budget/train_steps", 2), "budgets", "6 steps, more than"),
    "an illegal evaluation": (stated("fairway/recipe/ttt/mode", "pre_eval"), "legality", "pre_eval"),
    "too many seconds": (stated("seed_results/1/train_time_s", 601.5), "budgets", "1.5 more than 600"),
    "the ledger's digest": (stated("fairway/runs/1/ledger_digest", "0" * 64), "logs", "train_seed1.log says"),
    "what the ledger did": (relisted("ledger_seed1.json", replaced(b'"score"', b'"train"')), "ledger", "has digest"),
    "a ledger that learns first": (learned_first, "ledger", "was learned from before it was scored"),
    "a ledger in words": (relisted("ledger_seed1.json", lambda ledger: b"[]"), "ledger", "is no ledger's summary"),
    "the README": (relisted("README.md", replaced(b"Mean val_bpb ", b"Mean val_bpb 0")), "texts", "README.md line"),
    "a requirement": (relisted("requirements.txt", lambda text: text + b"evil\n"), "texts", "requirements.txt has"),
    "the validation text": (
        relisted("data/fineweb_val_000000.bin", flipped),
        "data",
        "fineweb_val_000000.bin is another",
    ),
    "the tokenizer": (changed("data/tokenizer.model", flipped), "files", "tokenizer.model was changed"),
    "a file beside": (lambda folder, claim: (folder / "sitecustomize.py").touch(), "files", "is not listed"),
    "a folder beside": (lambda folder, claim: (folder / "more").mkdir(), "files", "more is not part"),
}


@pytest.mark.parametrize("kind", TAMPERED)
def test_tampering_is_named(package, tmp_path, kind):
    change, check, words = TAMPERED[kind]
    folder = copy_of(package, tmp_path)
    claim = claims(folder)
    change(folder, claim)
    write_claims(folder, claim)
    found = [finding.words for finding in failed(folder) if finding.check == check]
    assert any(words in line for line in found), found


def test_a_package_names_its_rule_s_unpaired_test_and_one_that_does_not_verifies_too(package, tmp_path):
    folder = copy_of(package, tmp_path)
    claim = claims(folder)
    assert "Its test: Welch's t-test, or against one run" in (folder / "README.md").read_text(encoding="utf-8")
    relisted("README.md", without_line(b"Its test: "))(folder, claim)
    write_claims(folder, claim)
    assert failed(folder) == []


@pytest.mark.slow
def test_numbers_that_agree_with_one_another_fail_when_they_are_scored_again(package, tmp_path):
    """The ledger's digest changed everywhere it stands."""
    folder = copy_of(package, tmp_path)
    claim = claims(folder)
    old, new = claim["fairway"]["runs"]["1"]["ledger_digest"], "0" * 64
    relisted("train_seed1.log", replaced(old.encode(), new.encode()))(folder, claim)
    claim["fairway"]["runs"]["1"] |= {"ledger_digest": new, "ledger": None}
    (folder / "ledger_seed1.json").unlink()
    del claim["fairway"]["files"]["ledger_seed1.json"]
    relisted("README.md", without_line(b"ledger_seed1"))(folder, claim)
    write_claims(folder, claim)
    assert failed(folder) == []
    scores = [finding for finding in verify_folder(folder) if finding.check == "scores"]
    assert [finding.status for finding in scores] == ["failed", "ok"]


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ({}, "ok"),
        ({"val_bpb": 0.001}, "failed"),
        ({"val_loss": 0.001}, "failed"),
        ({"ledger_digest": "0" * 64}, "failed"),
        ({"num_tokens": 1}, "failed"),
        ({"num_bytes": 1}, "failed"),
    ],
)
def test_a_score_is_what_was_claimed_or_is_named(package, found, status):
    claim = read_submission(package)
    run, text = claim.seed_results["1"], claim.fairway.validation
    digest = found.get("ledger_digest", claim.fairway.runs["1"].ledger_digest)
    again = Rescored(
        run.val_loss + found.get("val_loss", 0),
        run.val_bpb + found.get("val_bpb", 0),
        text.tokens + found.get("num_tokens", 0),
        text.bytes + found.get("num_bytes", 0),
        1.0,
        digest,
    )
    assert compared(claim, 1, again).status == status


def test_a_score_of_another_machine_may_round_otherwise_and_no_more(package):
    claim = read_submission(package).model_copy(update={"hardware": "8x another, 8 ranks"})
    run, text = claim.seed_results["1"], claim.fairway.validation
    for difference, status in ((1e-6, "ok"), (1e-3, "failed")):
        factor = 1 + difference / run.val_bpb
        again = Rescored(run.val_loss * factor, run.val_bpb * factor, text.tokens, text.bytes, 1.0, "1" * 64)
        assert compared(claim, 1, again).status == status


def test_nothing_is_scored_after_a_file_differs(package, tmp_path):
    folder = copy_of(package, tmp_path)
    (folder / "artifact_seed1.bin").write_bytes(b"FAIRWAY\x01")
    (scores,) = [finding for finding in verify_folder(folder) if finding.check == "scores"]
    assert scores == Finding("scores", "unchecked", "not scored again, since files failed")


def test_a_script_of_another_trainer_is_not_compared_and_not_run(package, tmp_path):
    folder = copy_of(package, tmp_path)
    claim = claims(folder)
    claim["fairway"]["code_digest"] = "0" * 12
    relisted("train_gpt.py", lambda code: b"raise SystemExit('ran')\n")(folder, claim)
    write_claims(folder, claim)
    (script,) = [finding for finding in verify_folder(folder, score=False) if finding.check == "script"]
    assert script.status == "unchecked"
    assert "made by trainer 000000000000" in script.words


def test_validation_text_elsewhere_must_be_the_text_that_was_scored(package, tmp_path):
    (tmp_path / "fineweb_val_000000.bin").write_bytes(b"")
    (tmp_path / "tokenizer.model").write_bytes((package / "data" / "tokenizer.model").read_bytes())
    (scores,) = [finding for finding in verify_folder(package, data=tmp_path) if finding.check == "scores"]
    assert scores.status == "failed"
    assert "fineweb_val_000000.bin is another file than the one that was scored" in scores.words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("package", "nano", "bset"), "did you mean 'best'"),
        (("package", "nano", "best", "--policy", "pg-writen"), "did you mean 'pg-written'"),
        (("package", "nan", "best"), "did you mean 'nano'"),
    ],
)
def test_a_wrong_request_is_named(store, tmp_path, words, said):
    done = orchestrator(*words, "--out", tmp_path / "out", "--store", store)
    assert isinstance(done.exception, UserError)
    assert said in str(done.exception)
    assert not (tmp_path / "out").exists()
