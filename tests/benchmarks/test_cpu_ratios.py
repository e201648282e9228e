"""What the CPU's forms save on one thread: training, sliding scoring and test-time training against `plain`.

    python -m pytest -m bench tests/benchmarks/test_cpu_ratios.py -s

Both sides are measured in turn, many times, in processor seconds; a ratio is the median over the turns, so that other
work on the machine meets both alike. The bound is what the arithmetic alone takes: the counted FLOPs at the rate of a
large float32 product, measured here. Matrices as narrow as these do not reach that rate. About four minutes.
"""

import time
from collections.abc import Callable
from functools import partial
from statistics import median

import pytest
import torch

from tests.benchmarks.device import CPU_PRESETS
from tests.benchmarks.device_sections import Bench
from tests.benchmarks.plain import PlainTraining, plain_forms, score_windows
from trainer.scoring.forward import Forward
from trainer.scoring.sliding import score
from trainer.scoring.ttt import score_first
from trainer.spec.flops import flops_per_token
from trainer.spec.load import with_values
from trainer.stages.adapt import make_sgd
from trainer.stages.cpu import prepare_cpu
from trainer.stages.train import AT_WARM_UP, initial_model, update

pytestmark = pytest.mark.bench
TURNS, EPOCHS = 15, 3


def processor_s(work: Callable[[], object]) -> float:
    started_s = time.process_time()
    work()
    return time.process_time() - started_s


def in_turn(ours: Callable[[], object], plain: Callable[[], object], turns: int = TURNS) -> tuple[float, float]:
    """Median seconds of ours, and the median ratio of the plain form to it; both once before, untimed."""
    ours()
    plain()
    pairs = [(processor_s(ours), processor_s(plain)) for _ in range(turns)]
    return median(one for one, _ in pairs), median(other / one for one, other in pairs)


@pytest.fixture(scope="module")
def rate() -> float:
    """FLOP/s of a large product on one thread."""
    prepare_cpu()
    a, b = torch.randn(2, 1024, 1024).unbind()
    return 2 * 1024**3 / min(processor_s(lambda: a @ b) for _ in range(20))


def training(bench: Bench) -> tuple[float, float, float]:
    state = bench.training()
    plain = PlainTraining(initial_model(bench.recipe, bench.device), 0.3, bool(bench.recipe.averaging.ema_decay))
    loader, data = bench.loader(), bench.recipe.data

    def plain_step() -> None:
        plain.step([loader.next_micro_batch() for _ in range(data.micro_batches)])

    used_s, ratio = in_turn(partial(update, state, bench.recipe, AT_WARM_UP, bench.ranks), plain_step)
    return used_s, ratio, 3 * flops_per_token(bench.recipe) * data.train_batch_tokens


def sliding(bench: Bench) -> tuple[float, float, float]:
    evaluation, model = bench.recipe.evaluation, bench.model()
    window, stride = evaluation.window_tokens, evaluation.stride_tokens
    num_windows = 2 * evaluation.batch_windows
    tokens = torch.from_numpy(bench.tokens[: window + num_windows * stride])
    ids = tokens.to(torch.int64)

    def ours() -> None:
        ledger = bench.ledger(tokens)
        score(ledger, model, evaluation, bench.ranks)
        ledger.close()

    used_s, ratio = in_turn(ours, lambda: sum(score_windows(model, ids, window, stride, 1)))
    return used_s, ratio, flops_per_token(bench.recipe) * (num_windows + 1) * window


def adapting(bench: Bench) -> tuple[float, float, float]:
    """Two chunks, the first learned from; the plain form takes windows and head as ours does."""
    values = {"ttt.mode": "score_first", "ttt.lr": 0.002, "ttt.epochs": EPOCHS}
    recipe = with_values(bench.recipe, values, "benchmark")
    ttt, evaluation, model = recipe.ttt, recipe.evaluation, bench.model()
    tokens = torch.from_numpy(bench.tokens[: 2 * ttt.chunk_tokens + 1])
    start = {name: value.clone() for name, value in model.state_dict().items()}

    def ours(forward: Forward | None = None) -> None:
        model.load_state_dict(start)
        score_first(bench.ledger(tokens), model, ttt, evaluation, make_sgd, bench.ranks, forward=forward)

    def plain() -> None:
        with plain_forms():
            ours(Forward(model.hidden, model.logits, Forward.of(model).summed_nats))

    used_s, ratio = in_turn(ours, plain, TURNS // 2)
    scored = 2 * ttt.chunk_tokens // evaluation.stride_tokens * evaluation.window_tokens
    return used_s, ratio, flops_per_token(recipe) * (scored + 3 * EPOCHS * ttt.chunk_tokens)


PARTS = {"training step": training, "sliding scoring": sliding, "test-time training": adapting}


@pytest.mark.parametrize("preset", CPU_PRESETS)
def test_ratios_to_plain_on_one_thread(preset, rate, capsys):
    bench = Bench(preset, torch.device("cpu"), rate)
    for part, measured in PARTS.items():
        used_s, ratio, flops = measured(bench)
        with capsys.disabled():
            print(
                f"\n| `{preset}` | {part} | {1e3 * used_s:.1f} ms | {ratio:.2f} | {1e3 * flops / rate:.1f} ms "
                f"at {rate / 1e9:.0f} GFLOP/s |",
                end="",
            )
        assert ratio > 1
