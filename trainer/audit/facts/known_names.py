"""Names of functions in torch, NumPy and Python that the audit knows."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

NUMBERED: dict[str, Callable[..., Any]] = {
    "int": int, "float": float, "bool": bool, "str": str, "abs": abs, "round": round, "max": max, "min": min,
    "math.sqrt": math.sqrt, "math.ceil": math.ceil, "math.floor": math.floor, "len": len, "strtobool": bool,
    "math.log": math.log, "math.log1p": math.log1p, "math.exp": math.exp,
}  # fmt: skip


SAME = frozenset(
    [
        "compile",
        "DistributedDataParallel",
        "DDP",
        "DataParallel",
        "FullyShardedDataParallel",
        "FSDP",
        "tqdm",
        "trange",
        "iter",
        "unwrap",
        "from_numpy",
        "as_tensor",
        "asarray",
        "ascontiguousarray",
        "contiguous",
        "disable",
        "script",
        "jit",
        "checkpoint_wrapper",
        "memoryview",
        "frombuffer",
    ]
)
"""Functions whose result is their first argument in another form."""


LAZY = frozenset(["enumerate", "zip", "next", "map"])
"""Functions that go through a generator no further than they are asked."""
DATASETS = frozenset(["DataLoader", "TensorDataset", "Subset", "islice"])
"""What goes through its first argument."""
READERS = frozenset(
    [
        "fromfile",
        "memmap",
        "load",
        "open",
        "read_bytes",
        "read_text",
        "load_dataset",
        "read_parquet",
        "load_file",
        "loadtxt",
        "fromfile_",
        "from_file",
        "hf_hub_download",
        "snapshot_download",
        "read",
    ]
)


DECODERS = frozenset(["b85decode", "b64decode", "a85decode", "b32decode", "unhexlify", "fromhex"])
"""What unpacks text that stands in the script."""


OF_FILES = re.compile(r"load|read|fetch|shard|dataset|tokens|corpus|memmap", re.IGNORECASE)
"""Names of functions nobody can see into that may read a text."""


BLANK = frozenset(
    [
        "zeros",
        "ones",
        "empty",
        "randn",
        "rand",
        "normal",
        "eye",
        "zeros_like",
        "ones_like",
        "empty_like",
        "randn_like",
        "rand_like",
        "new_zeros",
        "new_ones",
        "new_empty",
    ]
)
"""Functions that make a tensor which holds nothing of their arguments but the shape."""


MAKERS = frozenset(["full", "tensor", "Parameter", "full_like", "array", "bytearray", "new_full"])


LOSSES = frozenset(
    ["cross_entropy", "nll_loss", "CrossEntropyLoss", "NLLLoss", "fused_linear_cross_entropy", "linear_cross_entropy"]
)


STATISTICS = frozenset(
    [
        "bincount",
        "unique",
        "unique_consecutive",
        "histc",
        "histogram",
        "Counter",
        "mean",
        "nanmean",
        "std",
        "var",
        "quantile",
        "percentile",
        "median",
        "cov",
        "corrcoef",
        "value_counts",
        "most_common",
    ]
)


TOGETHER = frozenset(["cat", "concat", "concatenate", "stack", "hstack", "vstack", "block"])


MIXING = frozenset(["logaddexp", "logaddexp2", "lerp", "add", "mul", "addcmul", "sub"])
"""Functions that mix two distributions, or scores by them."""


DRAWN = frozenset(["randint", "randrange", "uniform", "choice", "choices", "integers", "random", "rand", "random_"])
"""Functions whose result is a number drawn at random."""


COUNTS = frozenset(
    ["numel", "size", "dim", "len", "element_size", "is_available", "device_count", "get_world_size", "get_rank"]
)


OPTIMIZERS = re.compile(
    r"(^|\.)optim\.(?!lr_scheduler)|^(SGD|Adam|AdamW|Adam8bit|AdamW8bit|RMSprop|Adagrad|Adamax|NAdam|RAdam|LBFGS|Muon|"
    r"Lion|Adafactor|Adadelta)$"
)


SCHEDULES = re.compile(r"lr_scheduler|LRScheduler|Scheduler$|LR$")


WRITERS = frozenset(
    ["save", "dumps", "dump", "compress", "savez", "savez_compressed", "b85encode", "b64encode", "save_file"]
)
IN_MEMORY = frozenset(["dumps", "compress", "b85encode", "b64encode"])
"""Of these, what writes no file."""


SETTING = re.compile(r"environ\.get$|(^|\.)get(?:env)$")
NO_TOKENS = re.compile(r"\.(txt|log|json|jsonl|csv|md|py|model|vocab|html)$")
"""Files that hold no tokens, whatever their name."""
RUNNERS = frozenset(["spawn", "Process", "Thread", "submit", "start_processes"])
"""What runs a function that is handed in."""
COLLECTIVES = frozenset(
    ["barrier", "monitored_barrier", "all_reduce", "all_gather", "all_gather_into_tensor", "all_gather_object",
     "broadcast", "broadcast_object_list", "reduce_scatter", "reduce_scatter_tensor", "all_to_all"]
)  # fmt: skip
"""Functions in which the ranks wait for each other."""
PURE = frozenset(
    [
        "torch",
        "np",
        "numpy",
        "math",
        "F",
        "os",
        "re",
        "sys",
        "functools",
        "itertools",
        "collections",
        "nn",
        "str",
        "int",
        "float",
        "bool",
        "abs",
        "sum",
        "round",
        "divmod",
        "pow",
        "print",
        "any",
        "all",
        "sorted",
        "isinstance",
        "hasattr",
        "type",
        "super",
        "id",
        "repr",
        "format",
        "bytes",
        "ord",
        "chr",
        "zip",
        "copy",
        "json",
        "Path",
        "pathlib",
    ]
)
"""Modules and functions whose result depends on their arguments alone."""
PACKAGES = frozenset([
    "accelerate", "apex", "bitsandbytes", "brotli", "causal_conv1d", "cupy", "cut_cross_entropy", "datasets",
    "deepspeed", "einops", "fla", "flash_attn", "flash_attn_3", "flash_attn_interface", "huggingface_hub", "jax",
    "kernels", "liger_kernel", "lion_pytorch", "mamba_ssm", "matplotlib", "mlx", "numba", "numpy", "omegaconf",
    "optuna", "pandas", "psutil", "pyarrow", "pynvml", "ray", "regex", "requests", "rich", "safetensors", "scipy",
    "sentencepiece", "setuptools", "sklearn", "tiktoken", "tokenizers", "torch", "torchao", "tqdm",
    "transformer_engine", "transformers", "triton", "typing_extensions", "wandb", "xformers", "yaml", "zstandard",
    "zstd",
])  # fmt: skip
"""Packages that are installed, not written for one script: what they do with tokens is what their names say."""
