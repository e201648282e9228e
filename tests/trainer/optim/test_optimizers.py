import math

import pytest
import torch

from trainer.optim.optimizers import clip_gradients, make_optimizers
from trainer.spec.recipe import Adam, Muon, Optimizer

SHAPES = {"tok_emb.weight": (6, 4), "head.weight": (6, 4), "smear.gate": (4,), "blocks.0.mlp.fc.weight": (8, 4)}
SETTINGS = Optimizer(
    muon=Muon(lr=0.01, momentum_start=0.5, momentum=0.9, momentum_warmup_steps=10),
    adam=Adam(embed_lr=0.1, scalar_lr=0.2, head_lr=0.3, embed_weight_decay=0.5, scalar_weight_decay=0.25),
)


def draw(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make(settings: Optimizer = SETTINGS):
    parameters = {name: torch.nn.Parameter(draw(shape, 0)) for name, shape in SHAPES.items()}
    return parameters, make_optimizers(parameters, settings)


def take_step(parameters, optimizers, step: int, multiplier: float = 1.0) -> None:
    for name, parameter in parameters.items():
        parameter.grad = draw(SHAPES[name], 1 + step)
    optimizers.step(multiplier, step)


def slow_adamw(weight, gradients, lrs, weight_decay, beta1=0.9, beta2=0.95, eps=1e-8):
    """Loshchilov & Hutter, written out: decay apart from the moments, both at the scheduled rate."""
    first = second = torch.zeros_like(weight)
    for count, (gradient, lr) in enumerate(zip(gradients, lrs, strict=True), start=1):
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient**2
        mean, square = first / (1 - beta1**count), second / (1 - beta2**count)
        weight = weight - lr * weight_decay * weight - lr * mean / (square.sqrt() + eps)
    return weight


@pytest.mark.parametrize(
    ("name", "lr", "weight_decay"),
    [("tok_emb.weight", 0.1, 0.5), ("smear.gate", 0.2, 0.25), ("head.weight", 0.3, 0.0)],
)
def test_adam_groups_follow_adamw_at_their_own_rate(name, lr, weight_decay):
    parameters, optimizers = make()
    multipliers = [1.0, 0.5, 0.1]
    for step, multiplier in enumerate(multipliers):
        take_step(parameters, optimizers, step, multiplier)
    gradients = [draw(SHAPES[name], 1 + step) for step in range(3)]
    expected = slow_adamw(draw(SHAPES[name], 0), gradients, [lr * m for m in multipliers], weight_decay)
    torch.testing.assert_close(parameters[name].detach(), expected)


def test_matrices_move_by_an_orthogonal_step_at_the_scheduled_rate():
    parameters, optimizers = make(Optimizer(muon=Muon(lr=0.5, weight_decay=0.0)))
    take_step(parameters, optimizers, 0, multiplier=0.1)
    change = parameters["blocks.0.mlp.fc.weight"].detach() - draw(SHAPES["blocks.0.mlp.fc.weight"], 0)
    values = torch.linalg.svdvals(change) / (0.5 * 0.1 * math.sqrt(8 / 4))
    assert 0.5 < values.min() <= values.max() < 1.3


def test_muon_momentum_follows_the_step():
    parameters, optimizers = make()
    for step, momentum in [(0, 0.5), (5, 0.7), (10, 0.9), (11, 0.9)]:
        take_step(parameters, optimizers, step)
        assert optimizers.muon.param_groups[0]["momentum"] == pytest.approx(momentum)


def test_a_multiplier_of_zero_moves_nothing():
    parameters, optimizers = make()
    take_step(parameters, optimizers, 0, multiplier=0.0)
    assert all(torch.equal(parameter, draw(SHAPES[name], 0)) for name, parameter in parameters.items())


def test_resume_equals_straight_through():
    straight, optimizers = make()
    for step in range(2):
        take_step(straight, optimizers, step, multiplier=0.5)
    resumed, others = make()
    others.load_state_dict(optimizers.state_dict())
    for name, parameter in resumed.items():
        parameter.data.copy_(straight[name].data)
    for parameters, each in ((straight, optimizers), (resumed, others)):
        take_step(parameters, each, 2)
    assert all(torch.equal(straight[name], resumed[name]) for name in SHAPES)


def test_zero_grad_leaves_no_gradient():
    parameters, optimizers = make()
    take_step(parameters, optimizers, 0)
    optimizers.zero_grad()
    assert all(parameter.grad is None for parameter in parameters.values())


@pytest.mark.parametrize(("max_norm", "expected"), [(1.0, [0.6, 0.8]), (10.0, [3.0, 4.0]), (0.0, [3.0, 4.0])])
def test_clipping_is_by_the_global_norm_and_zero_never_clips(max_norm, expected):
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(3)]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0]), torch.tensor([4.0])
    assert float(clip_gradients(iter(parameters), max_norm)) == pytest.approx(5.0)
    assert [parameter.grad.item() for parameter in parameters[:2]] == pytest.approx(expected, rel=1e-5)
