"""The static audit on scripts written in the lineage's styles: none accused wrongly, planted breaches named."""

import base64
import bz2
import lzma
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from tests.trainer.audit.scripts import FOLDER, Planted, name_of, planted_in, scripts
from trainer.audit.findings.audit_rules import RULES
from trainer.audit.source.unwrap import Unreadable
from trainer.audit.static_audit import audit_file, audit_text

ROOT = Path(__file__).parents[3]
MOST_UNTOLD = 0.2


@pytest.fixture(scope="module")
def reports():
    """Every script's report, by its path."""
    return {script: audit_file(script) for kind in ("legal", "illegal") for script in scripts(kind)}


def names(report, planted: Planted) -> bool:
    """Whether a report names what is planted: line, condition, and that the defaults switch it on."""
    return any(
        (found.place.file, found.place.line) == (planted.file, planted.line)
        and planted.condition in found.rule.conditions
        and not found.only_when
        for found in report.findings
    )


@pytest.mark.parametrize("script", scripts("legal"), ids=name_of)
def test_no_legal_script_is_accused(reports, script):
    assert not reports[script].findings


@pytest.mark.parametrize("script", scripts("illegal"), ids=name_of)
def test_what_is_planted_is_named_with_its_line_and_condition(reports, script):
    assert reports[script].verdict == "illegal"
    assert all(names(reports[script], planted) for planted in planted_in(script))


def test_figures_of_both_sides(reports):
    legal, illegal = scripts("legal"), scripts("illegal")
    untold = {script for script, report in reports.items() if report.verdict == "cannot tell"}
    planted = [(script, one) for script in illegal for one in planted_in(script)]
    assert len(legal) >= 20 and len({script for script, _ in planted}) >= 20  # noqa: PT018
    assert sum(names(reports[script], one) for script, one in planted) >= 0.8 * len(planted)
    assert len(untold & set(legal)) <= MOST_UNTOLD * len(legal)
    assert len(untold & set(illegal)) <= MOST_UNTOLD * len(illegal)


def test_every_script_is_followed_without_gaps(reports):
    assert {name_of(script): report.reasons for script, report in reports.items() if report.reasons} == {}


def test_every_planted_line_is_the_only_one_of_its_rule(reports):
    """A finding beside the planted one is of another rule: it belongs to the same breach, not to honest lines."""
    for script in scripts("illegal"):
        lines = {(one.file, one.line) for one in planted_in(script)}
        rules = {found.rule.name for found in reports[script].findings if (found.place.file, found.place.line) in lines}
        others = [found for found in reports[script].findings if (found.place.file, found.place.line) not in lines]
        assert not [found for found in others if found.rule.name in rules], name_of(script)


def b85(data: bytes) -> str:
    return repr(base64.b85encode(data).decode())


def raw(data: bytes) -> bytes:
    return lzma.compress(data, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2}])


WRAPPERS = {
    "lzma and base85": lambda source: (
        f"import lzma as L,base64 as B\nexec(L.decompress(B.b85decode({b85(lzma.compress(source))})))"
    ),
    "raw lzma2": lambda source: (
        f"import lzma as L,base64 as B\nexec(L.decompress(B.b85decode({b85(raw(source))}),"
        'format=L.FORMAT_RAW,filters=[{"id":L.FILTER_LZMA2}]))'
    ),
    "zlib, compiled": lambda source: (
        f"import zlib, base64\nDATA = base64.b64decode({base64.b64encode(zlib.compress(source))!r} + b'')\n"
        "exec(compile(zlib.decompress(DATA).decode('utf-8'), 'train_gpt.py', 'exec'))"
    ),
    "bz2 by from-import": lambda source: (
        "from bz2 import decompress as d\nfrom base64 import a85decode as a\n"
        f"exec(d(a({base64.a85encode(bz2.compress(source))!r})))"
    ),
    "__import__": lambda source: (
        f"exec(__import__('zlib').decompress(__import__('base64').b85decode({b85(zlib.compress(source))})))"
    ),
}


@pytest.mark.parametrize("kind", WRAPPERS)
def test_a_wrapped_script_is_judged_by_the_lines_inside(kind):
    script = FOLDER / "illegal" / "wrapped_and_adapted_first.py"
    wrapped = WRAPPERS[kind](script.read_bytes())
    report = audit_text(wrapped, script.name)
    assert report.layers == 1
    assert names(report, planted_in(script)[0])


def test_a_wrapper_within_a_wrapper_is_opened():
    script = FOLDER / "illegal" / "wrapped_and_adapted_first.py"
    inner = WRAPPERS["raw lzma2"](script.read_bytes())
    report = audit_text(WRAPPERS["zlib, compiled"](inner.encode()), script.name)
    assert report.layers == 2
    assert names(report, planted_in(script)[0])


def test_a_wrapped_legal_script_is_not_accused():
    script = FOLDER / "legal" / "score_first_in_a_wrapper.py"
    assert audit_text(WRAPPERS["raw lzma2"](script.read_bytes()), script.name).verdict == "no breach found"


def test_a_wrapper_that_expands_without_end_is_refused():
    bomb = WRAPPERS["zlib, compiled"](b"#" * 50_000_000)
    with pytest.raises(Unreadable, match="more than 4,000,000 bytes"):
        audit_text(bomb, "bomb.py")


def test_code_that_stays_hidden_is_not_called_legal():
    report = audit_text("import urllib.request as r\nexec(r.urlopen('http://localhost/x').read())", "hidden.py")
    assert report.verdict == "cannot tell"
    assert any("exec" in reason for reason in report.reasons)


def test_what_is_off_by_default_is_reported_with_its_setting():
    text = (
        (FOLDER / "illegal" / "adapted_before_scoring.py")
        .read_text()
        .replace('"TTT_ENABLED", "1"', '"TTT_ENABLED", "0"')
    )
    report = audit_text(text, "off.py")
    assert report.verdict == "illegal when switched on"
    assert report.findings[0].only_when == ("TTT_ENABLED=0",)


def spanning(default: str) -> str:
    """A script whose table of hashes is made, read and filled in branches of their own, all under one setting."""
    text = (FOLDER / "illegal" / "hash_table_keyed_by_the_target.py").read_text()
    made = "    contexts = np.zeros(buckets, dtype=np.uint32)\n    pairs = np.zeros(buckets, dtype=np.uint32)\n"
    filled = "        np.add.at(contexts, context_key, 1)\n        np.add.at(pairs, pair_key, 1)\n"
    begin, end = text.index("        where = np.arange"), text.index("        nats += float")
    read = text[begin:end] + "        nll = torch.from_numpy(-np.log(mixed))\n"
    text = text[:begin] + "        if args.counts:\n" + indented(read) + text[end:]
    text = text.replace("float(-np.log(mixed).sum())", "float(nll.sum())")
    text = text.replace(made, "    if args.counts:\n" + indented(made))
    text = text.replace(filled, "        if args.counts:\n" + indented(filled))
    return text.replace("    ttt_lr =", f'    counts = bool(int(os.environ.get("COUNTS", "{default}")))\n    ttt_lr =')


def indented(lines: str) -> str:
    return "".join(f"    {line}\n" for line in lines.splitlines())


def test_what_spans_several_branches_of_a_setting_is_reported_with_it():
    off, on = audit_text(spanning("0"), "off.py"), audit_text(spanning("1"), "on.py")
    assert (off.verdict, on.verdict) == ("illegal when switched on", "illegal")
    (found,) = on.findings
    assert [(one.rule, one.place.line, one.only_when) for one in off.findings] == [
        (found.rule, found.place.line, ("COUNTS=0",))
    ]


def test_what_a_path_switches_on_that_is_empty_by_default_is_reported_with_it():
    text = (FOLDER / "illegal" / "stored_text_scores_nothing.py").read_text()
    text = text.replace("\nclass Model", '\nPREFIX = os.environ.get("PREFIX_FILE", "")\n\n\nclass Model')
    text = text.replace('stored("prefix.xz")', "stored(PREFIX) if PREFIX else None")
    text = text.replace("        forgive(", "        if known is not None:\n            forgive(")
    report = audit_text(text, "off.py")
    assert report.verdict == "illegal when switched on"
    assert {one.only_when for one in report.findings} == {("PREFIX_FILE=",)}


def test_weights_put_back_within_what_is_off_are_put_back():
    text = (FOLDER / "legal" / "prefix_learned_and_put_back.py").read_text()
    adapted, plain = (
        "    if ADAPTED:\n        print(evaluate(model, text))\n",
        "    if PLAIN:\n        print(plainly(model, text))",
    )
    text = text.replace("    print(evaluate(model, text))", adapted + plain)
    settings = 'ADAPTED = int(os.environ.get("ADAPTED", "0"))\nPLAIN = int(os.environ.get("PLAIN", "0"))\n'
    without = text[text.index("def evaluate") : text.index("if __name__")].replace("evaluate", "plainly")
    begin, end = without.index("        if first > 0"), without.index("        with torch.inf")
    text = text.replace("\n\nclass Model", f"\n{settings}\n\nclass Model", 1)
    report = audit_text(text.replace("if __name__", f"{without[:begin]}{without[end:]}if __name__"), "off.py")
    assert (report.findings, report.reasons) == ((), ())


def test_an_option_that_is_off_by_default_is_reported_with_its_name():
    text = (FOLDER / "illegal" / "adapted_before_scoring.py").read_text()
    parsed = "import argparse\nparser = argparse.ArgumentParser()\nOPTION\ncli = parser.parse_args()\n" + text.replace(
        'int(os.environ.get("TTT_ENABLED", "1"))', "cli.adapt_first"
    )
    off = audit_text(parsed.replace("OPTION", 'parser.add_argument("--adapt-first", action="store_true")'), "off.py")
    on = audit_text(parsed.replace("OPTION", 'parser.add_argument("--adapt-first", type=int, default=1)'), "on.py")
    assert (off.verdict, off.findings[0].only_when) == ("illegal when switched on", ("--adapt-first=False",))
    assert on.verdict == "illegal"


def test_quotes_within_quotes_of_newer_pythons_are_read():
    text = (FOLDER / "illegal" / "adapted_before_scoring.py").read_text()
    newer = text.replace("{logged.item() / rows:.4f}", '{"\\n".join([f"{logged.item() / rows:{"8.4f"}}"])}')
    assert newer != text
    report = audit_text(newer, "adapted_before_scoring.py")
    assert names(report, planted_in(FOLDER / "illegal" / "adapted_before_scoring.py")[0])


def test_what_is_not_told_apart_is_a_doubt_and_no_accusation(monkeypatch):
    monkeypatch.setattr("trainer.audit.facts.tokens.MOST_TOKENS", 2)
    report = audit_file(FOLDER / "legal" / "documents_gathered_token_by_token.py")
    assert report.verdict == "cannot tell"
    assert {found.confidence for found in report.findings} == {"low"}
    assert any("which part of the text" in reason for reason in report.reasons)


def test_names_decide_nothing():
    """The breach stays when every telling name is exchanged, and the honest script stays honest."""
    swap = {"tokens": "train_tokens", "adapt": "evaluate_only", "eval_sliding": "pretrain", "span": "train_batch"}
    for kind, script, verdict in (
        ("illegal", "adapted_before_scoring", "illegal"),
        ("legal", "score_first_sliding", "no breach found"),
    ):
        text = (FOLDER / kind / f"{script}.py").read_text()
        for old, new in swap.items():
            text = text.replace(old, new)
        assert audit_text(text, "renamed.py").verdict == verdict


def test_the_lines_of_a_helper_module_carry_its_name(reports):
    report = reports[FOLDER / "illegal" / "helper_learns_first" / "train_gpt.py"]
    assert {found.place.file for found in report.findings} == {"adaptation.py"}


def test_every_rule_has_a_condition_a_ruling_and_what_clears_it():
    for name, rule in RULES.items():
        assert rule.name == name
        assert rule.conditions and rule.rulings and rule.sentence and rule.clears  # noqa: PT018
        assert set(rule.rulings) <= {"#402", "#677", "#1017", "#779", "#1376", "#168", "#1797"}


def test_every_rule_is_shown_by_a_planted_line(reports):
    shown = {
        found.rule.name
        for script in scripts("illegal")
        for found in reports[script].findings
        if (found.place.file, found.place.line) in {(one.file, one.line) for one in planted_in(script)}
    }
    assert set(RULES) - shown == set()


def test_a_file_of_validation_tokens_alone_may_be_a_log():
    """Without weights in it, it is said, and decides nothing: what it is for cannot be seen."""
    text = (FOLDER / "legal" / "next_in_the_condition.py").read_text()
    report = audit_text(text + '    torch.save(text[:100], "first_tokens.pt")\n', "log.py")
    assert [(found.rule.name, found.confidence) for found in report.findings] == [("val-in-artifact", "low")]
    assert report.verdict == "no breach found"


def test_phases_that_share_a_counter_are_a_doubt():
    """A counter that starts again tells the documents of one phase from those of the next no longer apart."""
    text = (FOLDER / "legal" / "prefix_scored_then_learned.py").read_text()
    phases = """    phase, k = "learn", 0
    while phase != "done":
        if k == len(docs):
            phase, k = ("score", 0) if phase == "learn" else ("done", 0)
            continue
        learn(model, optimizer, docs[k]) if phase == "learn" else score(docs[k])
        k += 1
"""
    start = text.index("    for doc in prefix:")
    report = audit_text(text[:start] + phases + text[text.index("    print(nats") :], "phases.py")
    assert report.verdict == "cannot tell"


def test_a_script_of_two_thousand_lines_is_walked_within_the_limit(reports):
    text = (FOLDER / "legal" / "score_first_sliding.py").read_text()
    filler = "".join(f"\n\ndef unused_{n}(x):\n    y = x + {n}\n    return [y for _ in range(3)]\n" for n in range(400))
    report = audit_text(filler + text, "long.py")
    assert report.lines > 2000
    assert report.verdict == "no breach found"


def test_a_script_too_branched_to_be_walked_ends_in_cannot_tell():
    deep = "x = 1\n" + "".join(f"{'    ' * n}for i{n} in range(k):\n" for n in range(18)) + "    " * 18 + "x += f(x)\n"
    report = audit_text(deep, "deep.py")
    assert report.verdict == "cannot tell"
    assert "too branched" in report.reasons[0]


def test_the_audit_needs_no_torch():
    code = (
        "import sys; from orchestrator.cli import main; sys.argv[1:] = sys.argv[1:]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 1, end.code\n"
        "assert not {'torch', 'ray', 'pandas'} & set(sys.modules)"
    )
    script = FOLDER / "illegal" / "adapted_before_scoring.py"
    done = subprocess.run(
        [sys.executable, "-c", code, "audit", str(script)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"adapted_before_scoring.py:{planted_in(script)[0].line}  E6" in done.stdout


def test_a_module_that_is_not_beside_the_script_is_named():
    script = (FOLDER / "legal" / "score_first_sliding.py").read_text()
    handed = script.replace("import torch\n", "import torch\nfrom evaluation import score_of\n", 1)
    handed += "\n\nprint(score_of(GPT(1024), load_split(Hyperparameters.val_files)))\n"
    report = audit_text(handed, "handed.py")
    assert report.verdict == "cannot tell"
    line = handed.count("\n")
    assert any(f"line {line}: evaluation.score_of is given validation tokens" in reason for reason in report.reasons)
    assert audit_text(script.replace("import torch\n", "import torch\nimport colours\n", 1), "x.py").reasons == ()


def test_a_file_that_is_loaded_as_a_module_and_is_not_there_is_a_gap():
    report = audit_text(
        "import importlib.util as u\nspec = u.spec_from_file_location('base', 'base_train.py')\n"
        "base = u.module_from_spec(spec)\nspec.loader.exec_module(base)\nbase.main()\n",
        "child.py",
    )
    assert report.verdict == "cannot tell"
    assert any("line 3: the module that is loaded here is not beside the script" in one for one in report.reasons)


@pytest.mark.parametrize(("reserve", "is_late"), [(0, True), (12, False)])
def test_calibration_behind_a_clock_without_a_reserve_breaks_e8(reserve, is_late):
    text = (FOLDER / "legal" / "calibrated_on_training_tokens.py").read_text()
    timed = text.replace("import math\n", "import math\nimport time\n", 1).replace(
        "        x, y = loader.next_batch(args.batch_tokens, args.seq_len)\n",
        f"        if (time.perf_counter() - loader.started) * 1000.0 > 1e3 * (600 - {reserve}):\n            break\n"
        "        x, y = loader.next_batch(args.batch_tokens, args.seq_len)\n",
        1,
    )
    timed = timed.replace(
        "        self.position = 0\n", "        self.position, self.started = 0, time.perf_counter()\n", 1
    )
    report = audit_text(timed, "reserve.py")
    told = {(finding.rule.name, finding.rule.conditions) for finding in report.findings}
    assert told == ({("calibration-after-the-clock", ("E8",))} if is_late else set())
