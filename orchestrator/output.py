"""What programs read: every command with `--format json` prints one JSON list of flat rows on stdout, nothing else.

Progress and warnings go to stderr. A request that is wrong leaves stdout empty, says why on stderr and ends in status
2; a sweep that was interrupted prints the rows it has and ends in status 130, one that no machine may go on with in 1.
Numbers that are not finite, and whatever is not known, are null. `orchestrator schema rows` prints the columns below;
within one `format` columns may be added, but none goes, is renamed, or changes its type.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from results.rows.columns import COLUMN_TYPES, LEADING
from trainer.spec.console import PlainConsole
from trainer.spec.printable import printable_json

FORMAT = 1
"""Raised when a program that reads the rows would have to change."""
TYPES = {"text": "string"}
CONFIGURATIONS = (
    "rank:integer? config:text is_baseline:boolean status:text n:integer failed:integer mean:number? sd:number? "
    "ci95_low:number? ci95_high:number? best:number? total_bytes:integer? eval_s:number? within_budget:boolean? "
    "legal:boolean?"
)
RUNS = " ".join(f"{name}:{kind}{'' if name in LEADING else '?'}" for name, kind in COLUMN_TYPES.items())
STANDING = (
    "sweep:text state:text recorded:integer runs:integer created_at:text description:text failed:object "
    "quarantined:object damage:array"
)
ANSWERS = (
    "policy:text candidate:text incumbent:text answer:text reason:text n_candidate:integer? n_incumbent:integer? "
    "gain_bpb:number? gain_nats:number? margin_bpb:number? statistic:number? p:number? note:text sentence:text"
)
STAGES = "stage:text fingerprint:text state:text disk_bytes:integer seconds:number? last_used_at:text damage:text"
COLUMNS: Mapping[str, str] = {
    "plan": "sweep:text stage:text runs:integer needed:integer exact:boolean cached:integer missing:integer "
    "seconds_each:number? seconds_from:text? seconds:number? gpu_hours:number? usd:number? disk_bytes:number?",
    "plan --per run": "sweep:text config:text? seed:integer is_baseline:boolean values:object? recorded:boolean "
    "computes:array shares:array",
    "sweep": CONFIGURATIONS,
    "resume": CONFIGURATIONS,
    "confirm": CONFIGURATIONS,
    "table": CONFIGURATIONS,
    "table --per run": RUNS,
    "table --per machine": "machine:text runs:integer set_aside:integer stages:text stage_s:number "
    "tokens_per_s:number? mfu:number? hardware:text differs:text quarantined:text",
    "status": f"{STANDING} live:object?",
    "list": STANDING,
    "list presets": "preset:text description:text source:text parameters:integer?",
    "list spaces": "space:text name:text preset:text description:text",
    "best": "config:text verdict:text sentence:text n:integer mean:number? sd:number? ci95_low:number? "
    "ci95_high:number? gain_bpb:number? gain_low_bpb:number? gain_high_bpb:number? seed:integer recipe:text "
    "artifact:text? model_bytes:integer? changes:object command:text",
    "show": RUNS,
    "compare": "config:text baseline:text conclusion:text alpha:number exploratory:boolean sweep:text reason:text "
    "test:text assumption:text n_candidate:integer? n_baseline:integer? nats:object? bpb:object? t:number? df:number? "
    "p:number? p_corrected:number? num_comparisons:integer correlation:number? "
    "p_new_run_better:number? unit:text p_no_worse:number? sign_flip_p:number? "
    "bootstrap_bpb:array? race:text looks:array? settle:text sentence:text "
    "exploratory_because:text declared_alpha:number? declared:object?",
    "compare --policy": ANSWERS,
    "compare --metric": "config:text baseline:text metric:text conclusion:text alpha:number conditions:array "
    "baseline_conditions:array reason:text n:integer? machines:integer? mean:number? baseline_mean:number? "
    "difference:number? low:number? high:number? t:number? df:number? p:number? p_corrected:number? assumption:text "
    "sentence:text",
    "plan NAME": "seeds:integer race:boolean test:text gain:number?",
    "reproduce": "original:text rerun:text reproduces:boolean n_original:integer n_rerun:integer low:number "
    "high:number mean_rerun:number t:number df:number p:number shared_seeds:array pooled:object? "
    "pooled_each_seed_once:object? sentence:text",
    "first-step": "config:text first_step:integer? rule:text points:array sentence:text",
    "records": ANSWERS,
    "package": "folder:text config:text seeds:array val_bpb:number code_bytes:integer total_bytes:integer policy:text "
    "answer:text p:number?",
    "verify": "check:text status:text words:text",
    "report": "sweep:text report:text",
    "next": "kind:text sweep:text reason:text command:text configurations:array seeds:array runs:integer "
    "seconds:number? gpu_hours:number? exploratory:boolean chance:number? value_bpb:number? chosen:boolean",
    "audit": "file:text verdict:text reasons:array unwrapped_layers:integer code_bytes:integer score_lines:array "
    "rule:text? line:integer? in_file:text? condition:text? confidence:text? finding:text? detail:text? clears:text? "
    "conditions:array rulings:array only_when:array called_from:array evidence_lines:array smoke:object?",
    "audit-evaluator": "evaluator:text verdict:text num_evaluations:integer num_tokens:integer check:text outcome:text "
    "conditions:array sentence:text evidence:object",
    "cache list": STAGES,
    "cache verify": STAGES,
    "cache prune": STAGES,
}
"""Columns and types of each command's rows; `?` may be null. Tables have a column for each swept key besides."""


def print_rows(rows: Iterable[Mapping[str, Any]]) -> None:
    """The rows as strict JSON on stdout."""
    print(printable_json(json.dumps(_finite(list(rows)), indent=1, allow_nan=False)))


def console_for(stderr: bool = False) -> PlainConsole:
    """The console for people: square brackets in an error are printed as they are, control characters spelled out."""
    return PlainConsole(stderr=stderr)


PIPED_WIDTH = 140
"""Characters of a line where no terminal sets them."""


def shown_width(console: Console) -> int:
    """Characters of a line."""
    return console.width if console.is_terminal else PIPED_WIDTH


def print_lines(console: Console, lines: Iterable[str]) -> None:
    """Prints one line each; on a terminal what does not fit is broken between words and stands two columns further."""
    for line in lines:
        folded = [line]
        if console.is_terminal:
            folded = textwrap.wrap(
                line, console.width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
            )
        console.print(Text("\n".join(folded)), soft_wrap=True)


def say(console: Console, sentence: str, style: str = "", indent: int = 2) -> None:
    """Prints a sentence: broken between words on a terminal, in one line for whatever reads a pipe."""
    if console.is_terminal:
        console.print(Padding(Text(sentence), (0, 0, 0, indent)), style=style)
    else:
        console.print(" " * indent + sentence, style=style, soft_wrap=True)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def schema_of_rows() -> dict[str, Any]:
    """JSON Schema of every command's rows, with the version of them all."""
    return {"format": FORMAT, "commands": {command: _schema(columns) for command, columns in COLUMNS.items()}}


def _schema(columns: str) -> dict[str, Any]:
    named = dict(column.split(":") for column in columns.split())
    properties = {name: {"type": _type(kind)} for name, kind in named.items()}
    return {"type": "array", "items": {"type": "object", "properties": properties, "required": list(properties)}}


def _type(kind: str) -> Any:
    plain = kind.removesuffix("?")
    name = TYPES.get(plain, plain)
    return [name, "null"] if kind.endswith("?") else name
