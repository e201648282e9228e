"""From what happens in a script to findings: which updates saw tokens that are scored later, and other breaches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from trainer.audit.effects.chunk_borders import late_windows, learned_ahead
from trainer.audit.effects.clocks import calibrated_late, trained_late
from trainer.audit.effects.cut_short import cut_short
from trainer.audit.effects.document_lengths import lines_left_out
from trainer.audit.effects.positions import seams
from trainer.audit.effects.shares_of_ranks import shares_lost
from trainer.audit.effects.sides import given_targets
from trainer.audit.facts.tokens import OWN, Tokens
from trainer.audit.facts.trace import Evaluation, Event, Place, Reported, Trace, Update
from trainer.audit.findings.audit_rules import RULES
from trainer.audit.findings.finding import Finding, finding_of
from trainer.audit.findings.marked import chosen, marked
from trainer.audit.findings.scored import affects, counted_beside, not_read_back, overlap, scores_of, targets_of

ONCE = ("calibration", "val-in-artifact")
"""Of these the first line is reported: what is packed, written and loaded afterwards is the same."""
ORDER = ("rescored-after-training", "last-epoch-score", "chunk-trained-before-score", "trained-before-scoring")
LEARNING = (*ORDER, "table-of-unscored-tokens", "val-in-training")


def findings(trace: Trace) -> list[Finding]:
    """Every breach, the surest and earliest first; one per rule and line."""
    scored = scores_of(trace)
    found = [
        *_updates(trace, scored),
        *_notes(trace, scored),
        *marked(trace),
        *chosen(scored),
        *_statistics(trace, scored),
        *_positions(trace),
        *_given_targets(trace),
        *_not_read_back(trace),
        *_counted_beside(trace, scored),
        *_left_out(trace),
        *_cut_short(trace),
        *_shares(trace),
        *_late(trace, scored),
        *_scaled(trace, scored),
        *_behind_the_clock(trace),
        *learned_beyond(trace, scored),
        *_rank_order(trace, scored),
    ]
    kept: dict[tuple[str, Place], Finding] = {}
    for finding in found:
        key = (finding.rule.name, finding.place)
        if key not in kept or (kept[key].only_when and not finding.only_when):
            kept[key] = finding
    rank = {"high": 0, "medium": 1, "low": 2}
    return sorted(kept.values(), key=lambda one: (bool(one.only_when), rank[one.confidence], one.place.line))


def doubts(found: list[Finding]) -> Iterator[str]:
    """Why it cannot be told: learning that may have come before a score, as far as it was followed."""
    for one in found:
        if one.confidence == "low" and one.rule.name in LEARNING and not one.only_when:
            yield (
                f"line {one.place.line}: what learns here, or which part of the text it learns from, is not known; "
                f"{one.detail}"
            )


def _updates(trace: Trace, scored: list[Evaluation]) -> Iterator[Finding]:
    first_training = min(
        (update.time for update in trace.updates if {part.source for part in update.tokens} == {"train"}), default=None
    )
    best: dict[Place, tuple[int, Finding]] = {}
    mixed: dict[Place, Finding] = {}
    calls: dict[Place, Finding | None] = {}
    for update in trace.updates:
        for score in scored:
            if not affects(trace, update, score) or not overlap(trace, update, score):
                continue
            name = _kind(trace, update, score, scored, first_training)
            finding = finding_of(name, update, f"the score of line {score.place.line} comes after", (score,))
            if name == "rescored-after-training" and _is_a_pass_of_its_own(trace, update, score):
                finding = _at_the_second_score(finding, update, score)
            unknown = update.kind == "step" and not update.objects
            if update.kind == "table" and "apiece" in score.marks:  # it may have been asked before it learned the token
                unknown = not {loop for loop, _ in update.loops} & {loop for loop, _ in score.loops}
            if unknown or not overlap(trace, update, score, surely=True):
                finding = replace(finding, confidence="low")
            rank = update.time
            known = best.get(update.place)
            if known is None or _order(rank, finding) < _order(*known):
                best[update.place] = (rank, finding)
                calls[update.place] = (
                    _where_it_is_handed_over(finding, update, score) if update.kind == "table" else None
                )
            if name == "val-in-training":
                detail = f"validation files have such names too; learned from in line {update.place.line}"
                read = (trace.mixed.get(part.line) for part in update.tokens if part.source == "val")
                mixed |= {place: replace(finding, place=place, detail=detail) for place in read if place is not None}
    yield from (one for _, one in best.values())
    yield from (one for one in calls.values() if one is not None)
    yield from mixed.values()


def _order(rank: int, finding: Finding) -> tuple[bool, bool, int]:
    return finding.confidence == "low", bool(finding.only_when), rank


def _are_same(one: Evaluation, other: Evaluation) -> bool:
    """Whether both scored the same targets, as far as it is known which."""
    return any(part.overlaps(own) for part in targets_of(one) for own in targets_of(other))


def _kind(trace: Trace, update: Update, score: Evaluation, scored: list[Evaluation], first_training: int | None) -> str:
    if update.kind == "table":
        together = {loop for loop, _ in update.loops} & {loop for loop, _ in score.loops}
        return "table-of-unscored-tokens" if together else "trained-before-scoring"
    if any(part.source == "train" for part in update.tokens):
        return "val-in-training"
    if "train" not in trace.sources or (first_training is not None and update.time < first_training):
        return "val-in-training"
    data = _loops_of(update.tokens) & _loops_of(score.tokens)
    mine, theirs = dict(update.loops), dict(score.loops)
    earlier = [one for one in scored if one.time < update.time and overlap(trace, update, one)]
    around = [one for one in earlier if {loop for loop, _ in one.loops} & mine.keys()]  # not one before it all
    again = [one for one in around if one.place == score.place and _are_same(one, score)]
    if any(one.calls[-1:] == score.calls[-1:] or one.loops[:1] == score.loops[:1] for one in again):
        return "rescored-after-training"
    if any(loop in theirs and mine[loop] != theirs[loop] and loop not in data for loop in mine):
        taken = [one for one in trace.evaluations.values() if one.place == score.place and one.time < update.time]
        return "last-epoch-score" if any(overlap(trace, update, one) for one in taken) else "chunk-trained-before-score"
    if data & mine.keys() & theirs.keys():
        return "chunk-trained-before-score"
    if mine.keys() & theirs.keys() or any(_are_added(trace, one, score) for one in around):
        return "trained-before-scoring"
    return "rescored-after-training" if around else "trained-before-scoring"


def _are_added(trace: Trace, one: Evaluation, other: Evaluation) -> bool:
    """Whether both are parts of one score."""
    each = ({trace.evaluations[number].time for number in report.scores} for report in trace.reports)
    return any({one.time, other.time} <= times for times in each)


def _at_the_second_score(finding: Finding, update: Update, score: Evaluation) -> Finding:
    """The finding at the call that scores again what was learned in a loop that had scored it first."""
    others = [call for k, call in enumerate(score.calls) if update.calls[k : k + 1] != (call,)]
    detail = f"learned from in line {update.place.line}, after the first score"
    place = others[0] if others else score.place
    return replace(finding, place=place, detail=detail, calls=score.calls, evidence=(score.place, update.place))


def _where_it_is_handed_over(finding: Finding, learned: Event, score: Evaluation) -> Finding | None:
    """The finding also where the function that scores, or one around it, hands tokens to what fills a table."""
    others = [k for k, call in enumerate(learned.calls) if score.calls[k : k + 1] != (call,)]
    if not others:
        return None
    place, calls = learned.calls[others[0]], learned.calls[: others[0]]
    detail = f"filled in line {learned.place.line}; {finding.detail}"
    return replace(finding, place=place, detail=detail, calls=calls, evidence=(learned.place, score.place))


def _is_a_pass_of_its_own(trace: Trace, update: Update, score: Evaluation) -> bool:
    """Whether a score is taken outside of the loops that learn, where nothing is learned in the same way again.

    Only of all that learned: what is scored without its adapters should not have learned, so the step is at fault.
    """
    own, around = ({loop for loop, _ in event.loops} for event in (score, update))
    again = (one for one in trace.updates if one.place == update.place)
    return (
        update.objects <= score.objects
        and not own & around
        and not any(own & {loop for loop, _ in one.loops} for one in again)
    )


def _loops_of(tokens: frozenset[Tokens]) -> set[int]:
    return {abs(loop) for part in tokens for loop, _ in part.at}


def _notes(trace: Trace, scored: list[Evaluation]) -> Iterator[Finding]:
    seen: set[str] = set()
    for note in trace.notes:
        if note.rule in seen and note.rule in ONCE:
            continue
        if not note.off:
            seen.add(note.rule)
        if note.decided and not any(
            one.time > note.time and _are_same(trace.evaluations[number], one)
            for number in note.decided
            for one in scored
        ):
            continue
        if note.rule == "training-steered-by-score" and not _trains_around(trace, note):
            continue
        if note.rule in ("calibration", "weights-selected-by-score") and not any(
            one.time > note.time for one in scored
        ):
            continue
        found = finding_of(note.rule, note, note.detail, sure=note.sure)
        found = found if note.sure else replace(found, confidence="low")
        yield found
        if note.rule == "calibration":
            ran = (one for one in trace.evaluations.values() if one.place == note.place and one.calls)
            yield from (_where_it_is_called(found, one) for one in islice(ran, 1))


def _where_it_is_called(found: Finding, ran: Event) -> Finding:
    """The finding also where the function is called that looks at the tokens."""
    detail = f"{found.detail}; looked at in line {ran.place.line}"
    return replace(found, place=ran.calls[-1], calls=ran.calls[:-1], detail=detail, evidence=(ran.place,))


def _trains_around(trace: Trace, note: Event) -> bool:
    """Whether training goes on in the loop around an event."""
    around = {loop for loop, _ in note.loops}
    trained = (one for one in trace.updates if any(part.source == "train" for part in one.tokens))
    return any(around & {loop for loop, _ in one.loops} for one in trained)


def _positions(trace: Trace) -> Iterator[Finding]:
    for seam in seams(trace):
        if seam.missing == 1:
            continue  # the first token of each window, which has no context
        rule = RULES["tokens-dropped" if seam.missing > 0 else "targets-counted-twice"]
        detail = (
            f"{abs(seam.missing)} targets between two windows"
            if seam.missing > 0
            else (f"{-seam.missing} targets are in two windows that follow one another")
        )
        off, report = tuple(sorted(seam.report.off)), seam.report
        yield Finding(rule, seam.place, detail, "high", off, report.calls, (report.place,))


def _given_targets(trace: Trace) -> Iterator[Finding]:
    """Windows of which the model is given the targets themselves, as `x = window[1:]`."""
    for report, loss in given_targets(trace):
        detail = "the model is given the targets that it is scored on, not the tokens before them"
        off = tuple(sorted(report.off | loss.off))
        yield Finding(RULES["future-position"], loss.place, detail, "high", off, loss.calls, (report.place,))


def _not_read_back(trace: Trace) -> Iterator[Finding]:
    if (found := not_read_back(trace)) is not None:
        saved, report = found
        detail = f"the score of line {report.place.line} is of the model in memory"
        rule, others = RULES["artifact-not-scored"], _called(trace, report)
        if trace.is_read_back:  # an earlier score is of the artifact: the place is where the last one is asked for
            detail += f", not of what line {saved.place.line} writes"
            asked = next((call for call in report.calls if call not in others), report.place)
            yield Finding(rule, asked, detail, "medium", (), (), (saved.place, report.place))
        else:
            yield Finding(rule, saved.place, detail, "medium", (), report.calls, (report.place,))


def _counted_beside(trace: Trace, scored: list[Evaluation]) -> Iterator[Finding]:
    if (found := counted_beside(trace, scored)) is not None:
        update, saved, score = found
        detail = f"what line {saved.place.line} writes does not hold it; the score of line {score.place.line} uses it"
        found_at = finding_of("table-beside-the-artifact", update, detail, (score,), sure=False)
        yield replace(found_at, evidence=(saved.place, score.place))
        if (asked := _where_it_is_handed_over(found_at, update, score)) is not None:
            yield asked


def _called(trace: Trace, report: Reported) -> set[Place]:
    """The calls that lead to other scores."""
    return {call for one in trace.reports if not one.scores & report.scores for call in one.calls}


def _rank_order(trace: Trace, scored: list[Evaluation]) -> Iterator[Finding]:
    """Learning by every rank from tokens that one rank scored before, where the ranks did not wait in between."""
    for update in trace.updates:
        for score in scored:
            alone = {guard for guard in score.guards if guard.condition in trace.by_rank} - set(update.guards)
            if update.kind != "step" or not alone or score.time > update.time or not overlap(trace, update, score):
                continue
            if not any(score.time < time < update.time for time in trace.collectives):
                yield finding_of(
                    "rank-order", update, f"one rank scored them in line {score.place.line}", (score,), sure=False
                )
                break


def _left_out(trace: Trace) -> Iterator[Finding]:
    for line in lines_left_out(trace):
        report = trace.reports[-1]
        place = report.place._replace(line=line)
        off = tuple(sorted(report.off))
        detail = "documents are left out by their length"
        yield Finding(RULES["tokens-dropped"], place, detail, "high", off, report.calls, (report.place,))


def _cut_short(trace: Trace) -> Iterator[Finding]:
    for cut in cut_short(trace):
        place = cut.report.place._replace(line=cut.line)
        yield Finding(
            RULES["tokens-dropped"],
            place,
            cut.detail,
            "medium" if cut.is_sure else "low",
            (),
            cut.report.calls,
            (cut.report.place,),
        )


def _late(trace: Trace, scored: list[Evaluation]) -> Iterator[Finding]:
    for late in late_windows(trace, scored):
        detail = (
            f"windows {late.filing.step} apart are scored with the chunk of {late.filing.size} tokens they end in: "
            f"up to {late.targets} of their targets were learned with the chunk before"
        )
        found = finding_of("chunk-trained-before-score", late.score, detail, (late.learned,))
        yield replace(found, place=late.filing.place, evidence=(late.score.place, late.learned.place))


def _scaled(trace: Trace, scored: list[Evaluation]) -> Iterator[Finding]:
    own = {(one.time, one.place) for one in scored}
    for scaled in trace.scaled:
        each = (trace.evaluations[number] for number in scaled.scores)
        if any((one.time, one.place) in own for one in each):
            yield finding_of(scaled.rule, scaled, scaled.detail)


def _behind_the_clock(trace: Trace) -> Iterator[Finding]:
    for late, limit in (*calibrated_late(trace), *trained_late(trace)):
        detail = f"the clock in line {limit.place.line} ends training at {limit.seconds:.0f} seconds, with no reserve"
        trains = isinstance(late, Update) and late.kind != "table"
        name = "training-after-the-clock" if trains else "calibration-after-the-clock"
        found = finding_of(name, late, detail, (limit,), sure=False)
        yield found
        if late.calls and not trains:
            yield _where_it_is_called(found, late)


def learned_beyond(trace: Trace, scored: list[Evaluation]) -> Iterator[Finding]:
    """Learning behind the score of the windows that are filed under a chunk, from more than they score."""
    for ahead in learned_ahead(trace, scored):
        later = [one for one in scored if one.place == ahead.score.place and affects(trace, ahead.update, one)]
        if later:
            detail = (
                f"the chunk of {ahead.filing.size} tokens is scored in line {ahead.score.place.line}; learned are "
                f"{ahead.targets} targets or more that are scored with the next one"
            )
            yield finding_of("chunk-trained-before-score", ahead.update, detail, later[:1])


def _shares(trace: Trace) -> Iterator[Finding]:
    for lost in shares_lost(trace):
        found = finding_of("tokens-dropped", lost.score, lost.detail, (lost.report,))
        places = (lost.score.place, *(lost.score.place._replace(line=line) for line in lost.lines))
        yield replace(found, place=lost.score.place._replace(line=lost.line), evidence=places)


def _statistics(trace: Trace, scored: list[Evaluation]) -> Iterator[Finding]:
    for score in scored:
        narrow = [part for part in score.tokens if part.at and part.via in OWN]
        statistics = [part for part in score.tokens if part.via == "statistic" and not part.is_rough]
        wide = [part for part in statistics if not part.at and (part.is_text or part.low is None)]
        steps = [part for part in score.tokens if part.via == "gradient" and not part.is_rough]
        moved = [step for step in steps if any(step.overlaps(part) for part in targets_of(score))]
        for step in moved[:1]:
            around = {loop for loop, _ in score.loops}
            name = "chunk-trained-before-score" if any(abs(loop) in around for loop, _ in step.at) else ORDER[-1]
            detail = f"the weights of the score in line {score.place.line} were moved by gradients of the same tokens"
            yield replace(finding_of(name, score, detail), place=score.place._replace(line=step.line))
        own = [part for part in statistics if any(_holds(trace, part, target) for target in score.targets)]
        if own:
            found = finding_of("table-of-unscored-tokens", score, f"they enter the score of line {score.place.line}")
            yield replace(found, place=score.place._replace(line=own[0].line))
        if narrow and wide:
            found = finding_of(
                "statistics-of-the-whole-text", score, f"they enter the score of line {score.place.line}"
            )
            yield replace(found, place=score.place._replace(line=wide[0].line))


def _holds(trace: Trace, counted: Tokens, target: Tokens) -> bool:
    """Whether statistics are certainly of these targets too: of the same slice in the same iterations, or document."""
    if counted.line in trace.of_documents and counted.at:
        return counted.at <= target.at
    known = counted.line in trace.counting_lines and (counted.piece > 0 or counted.low is not None)
    places = ((part.at, part.piece, part.low, part.high) for part in (counted, target))
    return known and len({*places}) == 1
