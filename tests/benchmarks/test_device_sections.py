"""Sections of the device benchmark measure what their rows say. No GPU and no compiler."""

from collections import Counter
from collections.abc import Iterator
from unittest.mock import patch

import pytest
import torch

from tests.benchmarks import against_commit, device_sections
from tests.benchmarks.device_bench import Bench, Figure, part_of
from tests.counting import compiled_calls
from trainer.ranks import Ranks
from trainer.scoring.legality import Ledger
from trainer.spec.load import with_values
from trainer.stages.compiling import mean_nats

CPU = torch.device("cpu")
BATCH, WINDOW, STRIDE, CHUNK = 4, 32, 4, 256
QUARTER = WINDOW // 4
SMALL = {
    "model.num_layers": 2,
    "evaluation.batch_windows": BATCH,
    "evaluation.window_tokens": WINDOW,
    "evaluation.stride_tokens": STRIDE,
    "ttt.chunk_tokens": CHUNK,
}


class SmallBench(Bench):
    """A small recipe on a CPU."""

    def __init__(self, name: str = "tiny_nano"):
        super().__init__(name, CPU, 1.0)
        self.recipe = with_values(self.recipe, SMALL, "test")


class AsOnAGpu(SmallBench):
    """A CPU that does what a GPU would; nothing is asked of the GPU itself."""

    def __init__(self) -> None:
        super().__init__()
        self.on_gpu = True

    def forwards(self, *arguments):
        with patch.object(self, "ranks", Ranks(device=torch.device("cuda"))):
            return super().forwards(*arguments)

    def forget_memory(self) -> None:
        pass

    def peak_memory(self, label: str) -> Iterator[Figure]:
        yield from ()

    def profiled(self, *arguments) -> Iterator[Figure]:
        yield from ()


@pytest.fixture
def compiled():
    with compiled_calls() as calls:
        yield calls


def calls_for(figures: Iterator[Figure], compiled: list) -> dict[str, Counter]:
    """Compiled calls that were made for the first figure of each name."""
    made: dict[str, Counter] = {}
    for figure in figures:
        made.setdefault(figure.what, Counter(compiled))
        compiled.clear()
    return made


def test_scoring_called_compiled_is_compiled_at_both_strides(compiled):
    made = calls_for(device_sections.scoring(AsOnAGpu()), compiled)
    assert made["first scoring, sliding, eager"] == made["first scoring, rows, eager"] == Counter()
    sliding = {("hidden", (BATCH, WINDOW), WINDOW - STRIDE): 40 - 1}  # all batches but that of the text's first window
    assert made["first scoring, sliding, compiled"] == sliding
    assert made["first scoring, rows, compiled"] == {("hidden", (BATCH, WINDOW), 0): 16}


def test_test_time_training_called_compiled_scores_compiled(compiled):
    made = calls_for(device_sections.adaptation(AsOnAGpu()), compiled)
    assert made["test-time training, eager"] == Counter()
    times, batches = 1 + device_sections.PLAIN_TURNS, 2 * CHUNK // QUARTER // BATCH
    calls = made["test-time training, compiled"]
    assert calls["hidden", (BATCH, WINDOW), WINDOW - QUARTER] == times * (batches - 1)
    assert {name for name, *_ in calls} == {"hidden", "summed_nats"}


@pytest.mark.parametrize(
    ("kernel", "part"),
    [
        ("void cutlass::device_kernel<flash::enable_sm90<flash::FlashAttnFwdSm90<...>>>(...)", "attention"),
        ("fmha_cutlassF_bf16_aligned_64x64_rf_sm80(PyTorchMemEffAttention::AttentionKernel<...>)", "attention"),
        ("cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_3_64x128x64", "attention"),
        ("void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_bf16_128x256_32x3_nt_align8>", "matrix products"),
        ("nvjet_tst_192x192_64x4_2x1_v_bz_coopB_NTT", "matrix products"),
        ("triton_poi_fused_add_mul_0", None),
    ],
)
def test_a_kernel_belongs_to_one_part(kernel, part):
    assert part_of(kernel) == part


@pytest.mark.parametrize(("kind", "modules"), [(SmallBench, set()), (AsOnAGpu, {"attention", "MLP"})])
def test_modules_that_no_step_of_a_cpu_runs_have_no_row_there(kind, modules):
    bench = kind()
    parts = {figure.what for figure in device_sections._parts(bench, bench.training(), mean_nats, "eager", 1.0)}
    assert {f"{module} alone, eager" for module in ("attention", "MLP")} & parts == {
        f"{module} alone, eager" for module in modules
    }
    assert "forward and backward alone, eager" in parts


def test_a_process_that_finds_graphs_on_disk_comes_after_one_that_left_them(monkeypatch):
    bench, begun = AsOnAGpu(), []

    def start(how: str) -> dict[str, float]:
        begun.append(how)
        return dict.fromkeys(("begun_s", "first_step_s", "next_first_step_s", "peak_bytes"), float(len(begun)))

    monkeypatch.setattr(bench, "start", start)
    figures = {figure.what: figure.value for figure in device_sections.start(bench)}
    assert figures["cold start: first step of a new process, graphs on disk"] == 2
    assert begun == ["compiled"] * 2


@pytest.fixture
def issued(monkeypatch):
    """Numbers of windows that ledgers issued."""
    numbers, issue = [], Ledger.issue

    def noted(ledger, model, windows, window_tokens):
        numbers.append(len(windows))
        return issue(ledger, model, windows, window_tokens)

    monkeypatch.setattr(Ledger, "issue", noted)
    return numbers


def test_six_batches_against_a_commit_are_six(issued):
    against_commit.work_of_scoring(SmallBench())()
    assert issued == [BATCH] * 6


def test_a_training_step_against_a_commit_is_one(monkeypatch):
    bench = SmallBench()
    state = bench.training()
    monkeypatch.setattr(bench, "training", lambda: state)
    with patch.object(state.loader, "next_micro_batch", wraps=state.loader.next_micro_batch) as read:
        against_commit.work_of_a_step(bench)()
    assert read.call_count == bench.recipe.data.micro_batches


def test_both_sides_of_a_ratio_score_the_same_windows(issued):
    bench, num_windows = SmallBench(), 2 * BATCH
    tokens, model = bench.text(num_windows, STRIDE), bench.model()
    device_sections.scored(bench, tokens, model, bench.recipe.evaluation)
    assert issued == [BATCH, BATCH]
    with patch.object(type(model), "forward", autospec=True, side_effect=type(model).forward) as forward:
        scored = device_sections.plainly_scored(model, tokens.long(), WINDOW, STRIDE, 1)
    assert forward.call_count == num_windows
    assert scored == len(tokens) - 1  # a ledger that closes has all
