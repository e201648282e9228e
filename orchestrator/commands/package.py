"""`orchestrator package` and `verify`: a submission folder, and whether one is what it claims."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from orchestrator.commands.options import Name, Store, TextOrJson
from orchestrator.output import console_for, print_rows, say
from trainer.store.mirror import USUAL_STORE

EXIT_DIFFERS = 1
STYLES = {"ok": "green", "failed": "bold red", "unchecked": "yellow"}


def package(
    name: Name,
    config: Annotated[str, typer.Argument(help="A configuration: its id or words ('ttt.lr=0.01'), best, or baseline.")],
    out: Annotated[Path, typer.Option(help="Folder to write; new or empty.")],
    policy: Annotated[
        str, typer.Option(help="A rule by name: pg-written, pg-frontier-p25, mng-track1 or mng-track3.")
    ] = "pg-written",
    against: Annotated[
        str | None, typer.Option(help="The incumbent: as `compare --baseline` takes it; default: the baseline.")
    ] = None,
    code: Annotated[
        Literal["auto", "readable", "packed"],
        typer.Option(help="The form of train_gpt.py that counts; auto: packed where the readable one does not fit."),
    ] = "auto",
    title: Annotated[str, typer.Option(help="Name of the submission; default: sweep and configuration.")] = "",
    author: Annotated[str, typer.Option(help="Who submits.")] = "",
    github_id: Annotated[str, typer.Option(help="Their name on GitHub.")] = "",
    blurb: Annotated[str, typer.Option(help="What is new, in a sentence; default: the sweep's description.")] = "",
    track: Annotated[str, typer.Option(help="The contest's track.")] = "10min_16mb",
    store: Store = USUAL_STORE,
    format: TextOrJson = "text",
) -> None:
    """Write a submission folder: one script, artifacts, logs, README and submission.json, made from the runs.

    Refuses runs that are unfinished, illegal or over a limit, with the amount.
    """
    from orchestrator.analysis.collect_package import PackageTerms, package_configuration
    from orchestrator.sweep.sweep import find_sweep
    from results.verdicts.policies import policy_of

    terms = PackageTerms(policy, against, code, title, author, github_id, blurb, track)
    made = package_configuration(find_sweep(store, name), config, out, terms)
    claim = made.fairway.acceptance
    row = {
        "folder": str(out),
        "config": made.fairway.config,
        "seeds": list(made.seeds),
        "val_bpb": made.val_bpb,
        "code_bytes": made.bytes_code,
        "total_bytes": made.bytes_total,
        "policy": claim.policy,
        "answer": claim.answer,
        "p": claim.p,
        "test": policy_of(claim.policy).test_in_words,
    }
    if format == "json":
        print_rows([row])
        return
    console = console_for()
    say(console, f"{out}: {len(made.fairway.files) + 1} files", "bold", indent=0)
    say(console, f"val_bpb {made.val_bpb:.8f} over seeds {', '.join(map(str, made.seeds))}")
    say(
        console,
        f"{made.bytes_total:,} bytes at most: {made.bytes_code:,} of code, {made.bytes_model:,} of artifact",
    )
    say(console, claim.sentence)
    say(console, f"test of {claim.policy}: {policy_of(claim.policy).test_in_words}")
    if made.fairway.commit != made.fairway.script_commit:
        made_at, script_at = made.fairway.commit, made.fairway.script_commit
        say(
            console,
            f"note: the runs were made at {made_at}, the script at {script_at}: verify scores them again",
            "yellow",
        )
    say(console, f"next: orchestrator verify {out}", indent=0)


def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A submission folder.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder of the validation shards; default: those in the folder.")
    ] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Their SentencePiece model; default: tokenizer.model beside them.")
    ] = None,
    score: Annotated[bool, typer.Option("--score/--no-score", help="Score the artifacts again.")] = True,
    format: TextOrJson = "text",
) -> None:
    """Check a submission folder from the folder alone, and score it again in a clean process without network.

    Exit status 0: every check holds; 1: one failed, or could not be made; 2: there is nothing to check.
    """
    from results.submission.verify_folder import verify_folder
    from trainer.scoring.ledger_summary import order_complaints

    findings = verify_folder(folder, data, tokenizer, score, order_complaints)
    verified = all(finding.status == "ok" for finding in findings)
    if format == "json":
        print_rows({"check": one.check, "status": one.status, "words": one.words} for one in findings)
    else:
        console = console_for()
        for one in findings:
            say(console, f"{one.status:<10}{one.check:<12}{one.words}", STYLES[one.status], indent=0)
        say(console, "VERIFIED" if verified else "NOT VERIFIED", "bold", indent=0)
    if not verified:
        raise typer.Exit(EXIT_DIFFERS)
