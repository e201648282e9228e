import pytest
import torch

from trainer.optim.averaging import EMA, SWA


def state(seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    return {"w": torch.randn(64, 32, generator=torch.Generator().manual_seed(seed)).to(dtype)}


def test_swa_is_the_mean_of_its_snapshots():
    swa, states = SWA(), [state(seed) for seed in range(29)]
    for snapshot in states:
        swa.update(snapshot)
    exact = torch.stack([snapshot["w"].double() for snapshot in states]).mean(0)
    difference = (swa.average()["w"] - exact).abs()
    assert swa.count == 29
    assert difference.max() < 1e-6, f"max {difference.max()}, mean {difference.mean()}"


@pytest.mark.parametrize("count", [1, 2, 3, 29])
def test_swa_of_identical_states_is_that_state_exactly(count):
    swa = SWA()
    for _ in range(count):
        swa.update(state())
    assert torch.equal(swa.average()["w"], state()["w"])


def test_swa_averages_bfloat16_weights_in_float32():
    swa, states = SWA(), [state(seed, torch.bfloat16) for seed in range(29)]
    for snapshot in states:
        swa.update(snapshot)
    exact = torch.stack([snapshot["w"].double() for snapshot in states]).mean(0)
    assert swa.average()["w"].dtype == torch.float32
    assert (swa.average()["w"] - exact).abs().max() < 1e-6


def test_averages_do_not_move_with_the_weights_they_saw():
    parameter, swa, ema = torch.nn.Parameter(torch.ones(3)), SWA(), EMA(0.9)
    for average in (swa, ema):
        average.update([("w", parameter)])
    parameter.data.fill_(7)
    swa.average()["w"].fill_(8)
    assert swa.average()["w"].tolist() == ema.average()["w"].tolist() == [1, 1, 1]


def test_ema_worked_by_hand():
    ema = EMA(0.75)
    for value in (8.0, 0.0, 4.0):  # 8, then 0.75·8 = 6, then 0.75·6 + 0.25·4 = 5.5
        ema.update({"w": torch.tensor([value])})
    assert ema.average()["w"].tolist() == [5.5]


@pytest.mark.parametrize("make", [SWA, lambda: EMA(0.9)])
def test_an_average_goes_on_from_its_state_dict(make):
    straight, first, second = make(), make(), make()
    for seed in range(3):
        straight.update(state(seed))
        first.update(state(seed))
    second.load_state_dict(first.state_dict())
    for average in (straight, second):
        average.update(state(3))
    assert torch.equal(second.average()["w"], straight.average()["w"])
