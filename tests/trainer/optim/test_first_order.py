"""AdamW and SGD against torch's own classes, and that neither loads torch's compiler."""

import copy
import subprocess
import sys

import pytest
import torch

from trainer.optim.first_order import SGD, AdamW

SHAPES = ((7, 5), (33,), (64, 64), (3, 1000))
OURS_AND_TORCHS = {
    "adamw": (
        lambda parameters: AdamW([{"params": parameters, "weight_decay": 0.1}], betas=(0.8, 0.95), eps=1e-10),
        lambda parameters: torch.optim.AdamW(parameters, betas=(0.8, 0.95), eps=1e-10, weight_decay=0.1, fused=True),
    ),
    "sgd": (
        lambda parameters: SGD(parameters, lr=0.1, momentum=0.9),
        lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    ),
}


def parameters_of(seed: int) -> list[torch.nn.Parameter]:
    draw = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=draw)) for shape in SHAPES]


def take_steps(parameters, optimizer, steps) -> None:
    """At rates that change, one parameter without a gradient in every third step."""
    for step in steps:
        draw = torch.Generator().manual_seed(step)
        for place, parameter in enumerate(parameters):
            gradient = torch.randn(parameter.shape, generator=draw)
            parameter.grad = None if place == 1 and step % 3 == 0 else gradient
        optimizer.param_groups[0]["lr"] = 0.01 * (1 + step % 4)
        optimizer.step()


@pytest.mark.parametrize("name", OURS_AND_TORCHS)
def test_steps_have_the_bits_of_torchs_class_and_go_on_from_its_state(name):
    (make, make_torchs), (ours, torchs, later) = OURS_AND_TORCHS[name], (parameters_of(0) for _ in range(3))
    optimizer, reference = make(ours), make_torchs(torchs)
    take_steps(ours, optimizer, range(9))
    take_steps(torchs, reference, range(9))
    assert all(map(torch.equal, ours, torchs))
    with torch.no_grad():
        torch._foreach_copy_(later, torchs)
    resumed = make(later)
    resumed.load_state_dict(copy.deepcopy(reference.state_dict()))
    take_steps(later, resumed, range(9, 15))
    take_steps(torchs, reference, range(9, 15))
    assert all(map(torch.equal, later, torchs))


def test_a_state_of_other_groups_is_refused():
    optimizer = SGD(parameters_of(0), lr=0.1, momentum=0.9)
    with pytest.raises(ValueError, match=r"groups of \[3\] parameters, not \[4\]"):
        optimizer.load_state_dict(SGD(parameters_of(0)[:3], lr=0.1, momentum=0.9).state_dict())


def test_a_run_of_a_small_model_loads_no_compiler(tmp_path):
    """It takes 1.4 s of a CPU to import, before the first step of each process."""
    words = ["run", "tiny_nano", "--seed", "1", "--store", str(tmp_path), "--set", "ttt.mode=score_first"]
    code = (
        f"import sys; sys.argv = ['trainer', *{words}]\n"
        "from trainer.cli import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code\n"
        "print('loaded:', sorted({'torch._dynamo', 'torch._inductor', 'sympy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"
