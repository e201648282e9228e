"""Names of the model's tensors (those of the lineage's checkpoints), as several packages use them.

tok_emb.weight  head.weight  bigram.{embed.weight, proj.weight, scale}  smear.gate  skip_weights  skip_gates
ve_shared.{embed.weight, proj.weight, scale}  ve_layer_scales.J
blocks.I.{attn_scale, mlp_scale, resid_mix}  blocks.I.attn.{q_gain, c_q.weight, c_k.weight, c_v.weight, proj.weight}
blocks.I.mlp.{fc.weight, proj.weight}
"""

from __future__ import annotations

CONTROL_LEAVES = frozenset(
    {"attn_scale", "mlp_scale", "resid_mix", "q_gain", "skip_weights", "skip_gates", "gate", "scale"}
)
"""Last name parts of control tensors (gains, gates, scales): float32, never quantised, trained by Adam as scalars."""

BLOCK_MATRICES = ("attn.c_q", "attn.c_k", "attn.c_v", "attn.proj", "mlp.fc", "mlp.proj")
"""Matrices of a transformer block, between `blocks.I.` and `.weight`."""
EMBEDDING = "tok_emb.weight"
HEAD = "head.weight"
BIGRAM_TABLE = "bigram.embed.weight"
BIGRAM_PROJECTION = "bigram.proj.weight"
BIGRAM_SCALE = "bigram.scale"
VALUE_TABLE = "ve_shared.embed.weight"
VALUE_PROJECTION = "ve_shared.proj.weight"
VALUE_SCALE = "ve_shared.scale"
VALUE_LAYER_SCALES = "ve_layer_scales."
"""Start of the names of the scales by which each listed layer adds the value embedding."""
LANE_MERGE = "lane_merge"
"""How #1477 merges its two residual lanes; no model of ours has two (docs/recipe.md 2.7)."""


def is_control(name: str) -> bool:
    """Whether the tensor is a control tensor (a gain, gate or scale), which stays float32 everywhere."""
    return name.rsplit(".", 1)[-1] in CONTROL_LEAVES or name.startswith(VALUE_LAYER_SCALES)
