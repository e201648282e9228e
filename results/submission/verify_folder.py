"""Checks a submission folder: files, script, bytes, budgets, logs, statistics; then scores its artifacts again.

Nothing of the folder is executed: the script that scores is made anew from the recipe in submission.json, and the
folder's own script is compared with it. Each check ends in a finding; a folder is verified when every one is ok.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from results.submission.folder_checks import CHECKS, SAYS, Checked, OrderOf, first_difference
from results.submission.manifest import DATA, FILE, SCRIPT, SOURCE, Submission, read_submission
from results.submission.package_folder import artifact_name, entry_of_file, make_script
from results.submission.packed_script import is_packed, unpacked, without_docstrings
from results.submission.rescoring import Rescored, rescore
from trainer.spec.environment import PACKAGE, code_digest, hardware, versions
from trainer.spec.errors import UserError
from trainer.spec.stage_table import TOKENIZER_FILE

SAME_SCORE = 1e-4
"""Bits per byte by which a score on another machine may differ: rounding, no more."""


@dataclass(frozen=True)
class Finding:
    """What one check found."""

    check: str
    status: Literal["ok", "failed", "unchecked"]
    words: str


def verify_folder(
    folder: Path,
    data: Path | None = None,
    tokenizer: Path | None = None,
    score: bool = True,
    order_of: OrderOf = lambda summary: [],
) -> list[Finding]:
    """The finding of every check, in the order they were made.

    data:       folder of the validation shards; None: the folder's own
    tokenizer:  their SentencePiece model; None: tokenizer.model beside them
    order_of:   what is wrong with the order of events in a ledger's summary
    score:      whether to score the artifacts again, unless a file that scoring needs is not what was packaged
    Raises UserError where there is nothing to check: no folder, no submission.json of this program, no valid recipe.
    """
    submission = read_submission(folder)
    recipe = submission.fairway.whole_recipe()
    script = make_script(recipe, submission.name, submission.fairway.code_digest)
    checked = Checked(folder, submission, recipe, script, order_of)
    findings: list[Finding] = []
    for check, problems_of in CHECKS.items():
        problems = _problems(problems_of, checked)
        findings += [Finding(check, "failed", problem) for problem in problems]
        if not problems:
            findings.append(Finding(check, "ok", SAYS[check](submission)))
    findings.append(_script(checked))
    return [*findings, *_scores(checked, data, tokenizer, findings, score)]


def _problems(problems_of: Callable[[Checked], Iterator[str]], checked: Checked) -> list[str]:
    try:
        return list(problems_of(checked))
    except UserError as error:
        return [str(error)]


def _script(checked: Checked) -> Finding:
    """Whether the folder's script is the one that its recipe gives, byte for byte."""
    try:
        found = checked.text(SCRIPT)
        if is_packed(found.encode()):
            short, found = unpacked(found.encode()).decode(), checked.text(SOURCE)
            if short not in (found, without_docstrings(found)):
                return Finding("script", "failed", f"{SCRIPT} holds another text than {SOURCE}")
        elif checked.path(SOURCE).exists():
            return Finding("script", "failed", f"{SOURCE} is there, though {SCRIPT} is not packed")
    except (UserError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return Finding("script", "failed", str(error))
    if found == checked.script:
        return Finding("script", "ok", f"{SCRIPT} is what this program makes of the recipe, byte for byte")
    difference = first_difference(found, checked.script)
    stated, ours = checked.submission.fairway.code_digest, code_digest(PACKAGE)
    if stated != ours:
        return Finding(
            "script",
            "unchecked",
            f"{SCRIPT} was made by trainer {stated}, this is {ours}: {difference}. Verify with the trainer at commit "
            f"{checked.submission.fairway.script_commit}, or audit the script",
        )
    return Finding("script", "failed", f"{SCRIPT} {difference}: this trainer makes another script of the recipe")


NEEDED_TO_SCORE = ("files", "seeds", "legality", "data")
"""Checks after whose failure nothing is scored."""


def _scores(
    checked: Checked, data: Path | None, tokenizer: Path | None, findings: list[Finding], score: bool
) -> Iterator[Finding]:
    """The artifacts scored again, against what is claimed of them."""
    claim, validation = checked.submission, checked.submission.fairway.validation
    if not score:
        yield Finding("scores", "unchecked", "not scored again, as asked")
        return
    if broken := {one.check for one in findings if one.status == "failed"} & {*NEEDED_TO_SCORE}:
        yield Finding("scores", "unchecked", f"not scored again, since {', '.join(sorted(broken))} failed")
        return
    if data is None and not validation.included:
        yield Finding("scores", "unchecked", "not scored again: the folder holds no validation text; name it by --data")
        return
    shards = data or checked.path(DATA)
    model = tokenizer or shards / TOKENIZER_FILE
    if problems := [*_other_text(checked, shards, model)]:
        yield from (Finding("scores", "failed", problem) for problem in problems)
        return
    artifacts = [(seed, checked.path(artifact_name(seed))) for seed in claim.seeds]
    try:
        rescored = rescore(checked.script, artifacts, shards, model)
    except UserError as error:
        yield Finding("scores", "failed", str(error))
        return
    for seed in claim.seeds:
        yield compared(claim, seed, rescored[seed])


def _other_text(checked: Checked, shards: Path, model: Path) -> Iterator[str]:
    """How the text at hand differs from the one that was scored."""
    validation = checked.submission.fairway.validation
    present = {path.name for path in shards.glob("fineweb_val_*.bin")} if shards.is_dir() else set()
    if extra := sorted(present - set(validation.shards)):
        yield f"{shards} holds {extra[0]}, which was not scored"
    expected = {shards / name: entry for name, entry in validation.shards.items()} | {model: validation.tokenizer}
    for path, entry in expected.items():
        if not path.is_file():
            yield f"{path} is missing; --data names the folder of the validation shards, --tokenizer their model"
        elif entry_of_file(path) != entry:
            yield f"{path} is another file than the one that was scored: its SHA-256 differs"


def compared(claim: Submission, seed: int, found: Rescored) -> Finding:
    """What scoring an artifact again says of its claims: the same bits, or on another machine the same but rounding."""
    stated, text = claim.seed_results[str(seed)], claim.fairway.validation
    difference = found.val_bpb - stated.val_bpb
    here = f"{hardware()}, 1 ranks; {versions()}"
    same_machine = here == f"{claim.hardware}; {claim.versions}"
    digest = claim.fairway.runs[str(seed)].ledger_digest
    who = f"seed {seed}: val_bpb {found.val_bpb:.8f}"
    if (found.num_tokens, found.num_bytes) != (text.tokens, text.bytes):
        words = (
            f"{found.num_tokens:,} tokens of {found.num_bytes:,} bytes; {FILE} says {text.tokens:,} of {text.bytes:,}"
        )
        return Finding("scores", "failed", f"seed {seed}: scored {words}")
    if found.ledger_digest == digest and found.val_bpb == stated.val_bpb and found.val_loss == stated.val_loss:
        return Finding("scores", "ok", f"{who}, and the ledger's digest, bit for bit")
    if (found.val_bpb, found.val_loss) == (stated.val_bpb, stated.val_loss):
        words = f"{who} bit for bit, with ledger digest {found.ledger_digest[:12]}; {FILE} says {digest[:12]}"
        return Finding("scores", "failed", f"{words}: changed, or of a run by another trainer ({claim.fairway.commit})")
    if found.ledger_digest == digest or abs(difference) > SAME_SCORE or same_machine:
        return Finding(
            "scores",
            "failed",
            f"{who} (val_loss {found.val_loss:.8f}), {FILE} says {stated.val_bpb:.8f} ({stated.val_loss:.8f}); ledger "
            f"{found.ledger_digest[:12]}, {FILE} says {digest[:12]}",
        )
    if not math.isclose(found.val_loss / found.val_bpb, stated.val_loss / stated.val_bpb, rel_tol=1e-6):
        return Finding("scores", "failed", f"{who}: val_loss {found.val_loss:.8f}, {FILE} says {stated.val_loss:.8f}")
    return Finding(
        "scores",
        "ok",
        f"{who}, {difference:+.1e} from what is claimed; this machine rounds otherwise than {claim.hardware}, so the "
        "ledger's digest cannot be compared",
    )
