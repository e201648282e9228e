"""`python docs/presets.py`: writes docs/presets.md, each preset held against its source field by field.

The source's values are those of docs/recipe.md 6 (and 10), read from that page; ours are those of the presets. A value
that differs needs its reason here, and a field that a preset sets needs a line of the source or its reason.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.spec.field_index import FIELDS, disabled_by, flat, value_at
from trainer.spec.load import load_preset, preset_names
from trainer.spec.recipe import Recipe

DOCS = Path(__file__).parent
COMMAND = "python docs/presets.py"
HEAD = f"""# Presets and their sources

<!-- Written by `{COMMAND}`; changes made here are lost. -->

Every field of a published record's preset, held against the record. *Line* is the row of the table in
[recipe.md](recipe.md) section 6, *source* is what stands there for the record (section 10 for two entries of PR #150),
*ours* is the preset's value. Where they differ, the last column says why. A test compares both."""
Read = Callable[[str], Any]


@dataclass(frozen=True)
class Line:
    """Where a field's value stands in the source, and how it is read from the cell."""

    row: str
    read: Read


def part(index: int, separator: str = ",", kind: Any = int) -> Read:
    return lambda cell: kind(cell.split(separator)[index].strip())


def number(index: int = 0, kind: Any = float) -> Read:
    """The number at a place among those of a cell, 0 where there is none."""

    def read(cell: str) -> Any:
        numbers = re.findall(r"\d*\.?\d+(?:e\d+)?", cell.replace(",", "" if re.fullmatch(r"[\d,]+", cell) else " "))
        return kind(numbers[index]) if index < len(numbers) else kind(0)

    return read


def word(words: Mapping[str, Any]) -> Read:
    """The value of the first word that the cell has."""
    return lambda cell: next(value for word, value in words.items() if word in cell)


def layers(cell: str) -> list[int]:
    count = {"-": 0, "last 4": 4, "all 11": 11}[cell]
    return list(range(11 - count, 11))


def stride(cell: str) -> int:
    return int(re.findall(r"(?:rows of|slide) (\d+)", cell)[0])


def when(pattern: str, read: Read, otherwise: Any) -> Read:
    """What `read` makes of a cell with the pattern, `otherwise` without it."""
    return lambda cell: read(cell) if re.search(pattern, cell) else otherwise


SHAPE, MLP, ROPE, RECUR = (
    "layers, d, heads, kv",
    "MLP hidden, activation",
    "rope base, dims",
    "recurrence (s-e, extra, at)",
)
MOMENTUM, NS, DECAY = "Muon momentum (start, steps)", "NS triples, steps, row-norm", "decay Muon / scalar / embed"
CLOCK, TTT, BIGRAM = "wall clock, GPTQ reserve (s)", "TTT as published", "bigram hash (buckets x dim)"
LINES: Mapping[str, Line] = {
    "model.num_layers": Line(SHAPE, part(0)),
    "model.model_dim": Line(SHAPE, part(1)),
    "model.num_heads": Line(SHAPE, part(2)),
    "model.num_kv_heads": Line(SHAPE, part(3)),
    "model.mlp_hidden": Line(MLP, number(0, int)),
    "model.activation": Line(MLP, word({"leaky": "leaky_relu2", "relu": "relu2"})),
    "model.tie_embeddings": Line("tied, softcap", word({"yes": True, "no": False})),
    "model.logit_softcap": Line("tied, softcap", number()),
    "model.embed_init_std": Line("tied_embed_lr (init std 0.005)", lambda cell: 0.005),
    "model.qk_gain_init": Line("qk_gain_init", number()),
    "model.rope_base": Line(ROPE, number()),
    "model.rope_dims": Line(ROPE, word({", 64": 0, ", 16": 16})),
    "model.rope_native_tokens": Line(ROPE, word({"NTK": 1024, "": 0})),
    "model.xsa_layers": Line("XSA layers", layers),
    "model.ln_scale": Line("LN scale", word({"yes": True, "no": False})),
    "model.smear_gate": Line("smear gate", word({"vector": "vector", "-": "off"})),
    "model.bigram_buckets": Line(BIGRAM, number(0, int)),
    "model.bigram_dim": Line(BIGRAM, number(1, int)),
    "model.value_embed_dim": Line("value embedding", number(0, int)),
    "model.value_embed_layers": Line("value embedding", when("@", lambda cell: [9, 10], [])),
    "model.skip_gates": Line("skips", word({"gated": True, "plain": False})),
    "model.recur_first": Line(RECUR, number(0, int)),
    "model.recur_last": Line(RECUR, lambda cell: int(cell.split(",")[0].split("-")[1] or 0)),
    "model.recur_loops": Line(RECUR, number(2, int)),
    "model.recur_at": Line(RECUR, number(3)),
    "model.parallel_residual": Line("parallel residual", word({"one lane": "one_lane", "-": "off"})),
    "model.parallel_from": Line("parallel residual", number(0, int)),
    "model.init": Line("init", str),
    "data.vocab_size": Line("tokenizer", number(0, int)),
    "data.loader": Line("loader", str),
    "data.train_seq_len": Line("train_seq_len / eval", part(0, "/")),
    "evaluation.window_tokens": Line("train_seq_len / eval", part(1, "/")),
    "data.train_batch_tokens": Line("train_batch_tokens", number(0, int)),
    "optimizer.muon.lr": Line("matrix_lr", number()),
    "optimizer.adam.scalar_lr": Line("scalar_lr", number()),
    "optimizer.adam.embed_lr": Line("tied_embed_lr (init std 0.005)", number()),
    "optimizer.muon.momentum": Line(MOMENTUM, number(0)),
    "optimizer.muon.momentum_start": Line(MOMENTUM, number(1)),
    "optimizer.muon.momentum_warmup_steps": Line(MOMENTUM, number(2, int)),
    "optimizer.muon.ns_coefficients": Line(NS, part(0, kind=str)),
    "optimizer.muon.ns_steps": Line(NS, part(1)),
    "optimizer.muon.row_normalize": Line(NS, word({"yes": True, "no": False})),
    "optimizer.muon.weight_decay": Line(DECAY, part(0, "/", float)),
    "optimizer.adam.scalar_weight_decay": Line(DECAY, part(1, "/", float)),
    "optimizer.adam.embed_weight_decay": Line(DECAY, part(2, "/", float)),
    "optimizer.adam.beta1": Line("Adam betas (eps 1e-8)", number(0)),
    "optimizer.adam.beta2": Line("Adam betas (eps 1e-8)", number(1)),
    "optimizer.adam.eps": Line("Adam betas (eps 1e-8)", lambda cell: 1e-8),
    "optimizer.grad_clip": Line("grad clip", number()),
    "schedule.form": Line("warmdown", word({"frac": "fraction", "it": "iterations"})),
    "schedule.warmdown_steps": Line("warmdown", number(0, lambda text: int(float(text)))),
    "schedule.warmdown_fraction": Line("warmdown", number(0)),
    "schedule.min_multiplier": Line("min_lr", number()),
    "averaging.use": Line("averaging", word({"SWA": "swa", "EMA": "ema", "-": "none"})),
    "averaging.swa_every": Line("averaging", when("SWA", number(0, int), 0)),
    "averaging.swa_below": Line("averaging", number(1)),
    "averaging.ema_decay": Line("averaging", when("EMA", number(0), 0.0)),
    "quantization.qat": Line("QAT", word({"from step 0": "always", "late": "late", "off": "off", "-": "off"})),
    "quantization.qat_late_below": Line("QAT", number(0)),
    "quantization.matrix_bits": Line("matrices", word({"int8": 8, "int6": 6, "GPTQ6": 6})),
    "quantization.method": Line("matrices", word({"GPTQ-lite": "clip_search", "GPTQ6": "gptq", "int": "nearest"})),
    "quantization.clip_stds": Line("matrices", number(1)),
    "quantization.embedding": Line("embedding", word({"int8": "int8", "GPTQ8": "int8", "fp16": "float16"})),
    "quantization.embedding_clip_stds": Line("embedding", number(1)),
    "quantization.calibration_batches": Line("calibration batches", number(0, int)),
    "quantization.compressor": Line("compressor", word({name: name for name in ("zlib", "zstd", "lzma", "brotli")})),
    "quantization.zstd_level": Line("compressor", number(0, int)),
    "evaluation.stride_tokens": Line("scoring", stride),
    "ttt.mode": Line(TTT, word({"ILLEGAL": "pre_eval", "lr": "score_first", "-": "off"})),
    "ttt.lr": Line(TTT, number(0)),
    "ttt.epochs": Line(TTT, number(1, int)),
    "ttt.chunk_tokens": Line(TTT, lambda cell: 32_768),
    "budget.train_s": Line(CLOCK, number(0)),
    "budget.reserve_s": Line(CLOCK, number(1)),
}
"""Fields that the table of docs/recipe.md 6 gives."""
COLUMN = {"pr150_v20": "pr150_v12", "pr150_10l": "pr150_v21"}
"""The column of a preset that has none; what its entry changed is in docs/recipe.md 10."""
SECTION_10: Mapping[str, Mapping[str, Any]] = {
    "pr150_v20": {"averaging.use": "none", "averaging.swa_every": 0},
    "pr150_10l": {
        "model.num_layers": 10,
        "model.mlp_hidden": 1344,
        "model.rope_base": 10_000.0,
        "model.smear_gate": "off",
        "model.bigram_buckets": 4096,
        "model.init": "default",
        "data.train_batch_tokens": 524_288,
        "optimizer.muon.lr": 0.02,
        "optimizer.adam.scalar_lr": 0.02,
        "optimizer.adam.embed_lr": 0.04,
        "averaging.use": "none",
        "averaging.swa_every": 0,
        "quantization.qat": "always",
        "ttt.mode": "off",
    },
}
ELSEWHERE: Mapping[str, str] = {
    "model.bigram_projection_init": "2.3: plain orthogonal in #549, over the root of 2L before",
    "model.compute_dtype": "2.2: bfloat16 under autocast",
    "optimizer.bigram_table": "3.2: the scalar rate in #150, the token rate from #162 on",
    "optimizer.embed_projections": "3.2: Adam at the scalar rate in #549, Muon before",
    "quantization.scale": "4.2, 7.7: the floor of PR #150 to #549, which is what makes their artifacts fit",
    "quantization.qat_sees": "ours: 4.3 asks that training sees what export stores",
    "quantization.tables": "4.1: int8 from #287 on",
    "quantization.controls": "4.1: float32 up to #150, float16 from #287 on",
    "quantization.clip_search_in": "4.1, 4.4: int6 matrices alone",
    "quantization.min_elements": "4.1: more than 65,536",
    "ttt.momentum": "5.3",
    "ttt.batch_rows": "5.3: 32 rows on each of 8 ranks",
    "ttt.frozen_blocks": "10: 2 in v12, none from v20 on",
    "data.micro_batches": "3.3: 8 over the ranks",
    "data.source": "1.5",
    "data.folder": "1.5",
    "data.tokenizer": "1.5",
    "evaluation.batch_windows": "5.2: 32 windows",
    "averaging.swa_min_step": "ours: 3.6 asks for some minimum, the originals had none (7.12)",
    "budget.eval_s": "1.1",
    "budget.artifact_bytes": "1.1",
}
"""Fields that presets set and the table does not give: the section of docs/recipe.md they follow."""
DIFFERENT: Mapping[tuple[str, str], str] = {
    (
        "ttt.mode",
        "pre_eval",
    ): "the published evaluation learns the text before it scores it (5.6); `--set ttt.mode=pre_eval`",
}
"""Why a field differs from the given source value."""
MENDED = """## What all presets mend

Beside their fields, the presets follow these rules where the originals did not; [recipe.md](recipe.md) has the details.

| original | ours |
|---|---|
| bigram table and projection of PR #150 both start at zero and never learn (7.3) | the projection starts orthogonal |
| windows skip a block, tails are cut or scored twice (7.1, 7.2, 7.23) | each target is scored once |
| rows get a scale of at least 1/qmax (7.7), the baseline's too | only where it is what makes the artifact fit |
| fake quantisation is not the export (7.8), late QAT is folded away (3.7) | one rule, and it takes effect |
| GPTQ-lite takes one clip per tensor (4.4) | the best clip per row |
| SWA sums bfloat16 (7.13), triggers look at the multiplier alone (7.12) | float32 sums, `averaging.swa_min_step` |
| a slow first step lowers the rate (7.11), each rank asks its clock (7.14, 7.24) | median step, one rank decides |
| the loader ignores the run's seed (7.25) | `data.order_seed`; null takes the run's seed |
| the shuffled loader's order depends on the ranks (3.3) | one order for any number of ranks; `lineage` is refused |
| embedding tables, their moments and the cap of the logits are bfloat16 (2.2) | float32 |
| iterations are capped at 9,000 or 20,000 | the clock alone ends training |"""

SIZES = """## Sizes

Bytes of each artifact at full size, of random weights of standard deviation 0.05 and three tail weights; {limit:,} are
left beside the code. The rule in bold is the preset's. *a -> b (x m, n)*: the rule of scales alone takes a bytes, too
many, and `quantization.fit_bytes` makes b of them, by scales m times as large, in n encodings. Bytes with *est.* are
estimated by the entropy of the codes, all others encoded: coders make -0.8 to 0.6 % more of it near the limit (lzma
2.5 %), up to 7 % more where codes are few, which is why `fit_bytes` measures what they make of it.

{table}

Under the floor the bytes depend on the standard deviation: at 0.2, four times the above, `pr150_v21` takes an estimated
16.7 MB of Gaussian weights, and its author's file has 15.77 MB. A trained model's weights decide in the end:
`fit_bytes` makes any of them fit, and `plan` says which may not.

`python docs/preset_sizes.py` encodes them, single-threaded in an hour, and writes `docs/preset_sizes.csv`, of which
this table is made; `tests/benchmarks/test_artifact_sizes.py` encodes them again and compares; `python -m trainer check
NAME` encodes one."""
SIZES_FILE = DOCS / "preset_sizes.csv"


def sizes() -> str:
    """The chapter on sizes, from the file that `preset_sizes.py` writes."""
    with SIZES_FILE.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    tails = list(dict.fromkeys(row["tails"] for row in rows))
    cells = {(row["preset"], row["scale"], row["tails"]): _size_cell(row) for row in rows}
    table = [
        (
            preset,
            f"**{scale}**" if scale == _own_scale(preset) else scale,
            *(cells.get((preset, scale, one), "not encoded yet") for one in tails),
        )
        for preset, scale in sorted({(preset, scale) for preset, scale, _ in cells})
    ]
    return SIZES.format(limit=int(rows[0]["limit_bytes"]), table=_table(("preset", "scales", *tails), table))


def _size_cell(row: Mapping[str, str]) -> str:
    rule_bytes, model_bytes = int(row["rule_bytes"]), int(row["model_bytes"])
    text = f"{rule_bytes:,}"
    if model_bytes != rule_bytes:
        how = f"{row['encodings']}" if row["encodings"] != "0" else "est."
        return f"{text} -> {model_bytes:,} (x {float(row['scale_multiplier']):.3f}, {how})"
    return text if row["encodings"] != "0" else f"{text} est."


def _own_scale(preset: str) -> str:
    quantization = load_preset(preset).recipe.quantization
    return "sdclip" if quantization.method == "gptq" else quantization.scale


def source_table() -> dict[str, dict[str, str]]:
    """The table of docs/recipe.md 6: cells by row, then by preset."""
    text = (DOCS / "recipe.md").read_text(encoding="utf-8").partition("\n## 6. ")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    head, table = rows[0][1:], {}
    for row in rows[2:]:
        if len(row) != len(head) + 1:
            break
        table[row[0]] = dict(zip(head, row[1:], strict=True))
    return table


def comparison(name: str) -> Iterator[tuple[str, str, Any, Any, str]]:
    """Field, line of the source, its value, ours and the reason where they differ, of every field with an effect."""
    recipe, table = load_preset(name).recipe, source_table()
    for key in FIELDS:
        ours = value_at(recipe, key)
        ours = list(ours) if isinstance(ours, tuple) else ours
        if key in SECTION_10.get(name, {}):
            yield key, "section 10", SECTION_10[name][key], ours, _reason(key, SECTION_10[name][key], ours)
        elif key in LINES and disabled_by(recipe, key) is None:
            source = LINES[key].read(table[LINES[key].row][COLUMN.get(name, name)])
            yield key, LINES[key].row, source, ours, _reason(key, source, ours)


def _reason(key: str, source: Any, ours: Any) -> str:
    return "" if source == ours else DIFFERENT.get((key, source), "?")


def fields_set(recipe: Recipe) -> set[str]:
    """Fields with an effect that are not at their default."""
    return {
        key for key, value in flat(recipe).items() if value != FIELDS[key].default and disabled_by(recipe, key) is None
    }


def page() -> str:
    parts = [HEAD]
    for name in (name for name in preset_names() if name != "tiny"):
        preset = load_preset(name)
        parts.append(f"## {name}\n\n{preset.description} Source: {preset.source}.")
        rows = [
            (f"`{key}`", line, _text(source), _text(ours), reason)
            for key, line, source, ours, reason in comparison(name)
        ]
        parts.append(_table(("field", "line", "source", "ours", "why not the same"), rows))
        others = sorted(fields_set(preset.recipe) - {*LINES, *SECTION_10.get(name, {})})
        rest = [(f"`{key}`", _text(value_at(preset.recipe, key)), ELSEWHERE.get(key, "?")) for key in others]
        parts.append(_table(("field beside that table", "ours", "section of recipe.md"), rest))
    return "\n\n".join([*parts, MENDED, sizes()]) + "\n"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(list(value) if isinstance(value, tuple) else value)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, ("---",) * len(head), *rows))


if __name__ == "__main__":
    (DOCS / "presets.md").write_text(page(), encoding="utf-8")
    print(DOCS / "presets.md")
