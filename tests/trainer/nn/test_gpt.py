import pytest
import torch
import torch.nn.functional as F

from trainer.nn.block import MLP
from trainer.nn.gpt import GPT
from trainer.spec.load import load_preset
from trainer.spec.recipe import Model

VOCAB_SIZE = 50
SMALL = Model(
    num_layers=3,
    model_dim=32,
    num_heads=4,
    num_kv_heads=2,
    mlp_hidden=48,
    bigram_buckets=64,
    bigram_dim=16,
    xsa_layers=(2,),
    compute_dtype="float32",
)


def changed(**values) -> Model:
    return Model(**{**SMALL.model_dump(), **values})


def started(model: Model = SMALL, seed: int = 0) -> GPT:
    gpt = GPT(model, VOCAB_SIZE)
    gpt.init_weights(torch.Generator().manual_seed(seed))
    return gpt


def lively(model: Model = SMALL) -> GPT:
    """A model none of whose weights is zero, so that every path carries something."""
    gpt = started(model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in gpt.parameters():
            parameter += torch.randn(parameter.shape, generator=generator) * 0.2
    return gpt


def draw_ids(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(VOCAB_SIZE, shape, generator=torch.Generator().manual_seed(seed))


def sgd_step(gpt: GPT, lr: float = 0.1) -> None:
    ids_BT = draw_ids(4, 17)
    gpt.zero_grad()
    F.cross_entropy(gpt(ids_BT[:, :-1]).flatten(0, 1), ids_BT[:, 1:].flatten()).backward()
    with torch.no_grad():
        for parameter in gpt.parameters():
            parameter -= lr * parameter.grad


@pytest.mark.parametrize("position", [1, 7, 19])
def test_a_later_token_leaves_earlier_logits_bit_identical(position):
    gpt, ids_BT = lively(), draw_ids(2, 20)
    other_BT = ids_BT.clone()
    other_BT[:, position:] = (other_BT[:, position:] + 1) % VOCAB_SIZE
    before, after = gpt(ids_BT), gpt(other_BT)
    assert torch.equal(before[:, :position], after[:, :position])
    assert not torch.equal(before[:, position], after[:, position])


def test_padding_on_the_right_is_harmless():
    gpt, ids_BT = lively(), draw_ids(2, 20)
    logits_BTV = gpt(ids_BT)
    for pad in (0, 49):
        torch.testing.assert_close(gpt(F.pad(ids_BT, (0, 12), value=pad))[:, :20], logits_BTV, rtol=1e-5, atol=1e-5)


def test_same_seed_same_bits_and_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    one, two, other = started(seed=3), started(seed=3), started(seed=4)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.tok_emb.weight, other.tok_emb.weight)
    assert torch.equal(torch.get_rng_state(), before)


def test_bigram_projection_has_a_gradient_at_step_1():
    gpt = started()
    for _ in range(2):  # at step 0 its input is the zero table
        sgd_step(gpt)
    assert gpt.bigram.proj.weight.grad.abs().max() > 0


@pytest.mark.parametrize("model", [SMALL, changed(tie_embeddings=False, bigram_dim=32, activation="leaky_relu2")])
def test_every_parameter_soon_has_a_gradient(model):
    gpt = started(model)
    for _ in range(4):
        sgd_step(gpt)
    assert [name for name, parameter in gpt.named_parameters() if not parameter.grad.any()] == []


@pytest.mark.parametrize(
    "values",
    [
        {"activation": "leaky_relu2"},
        {"logit_softcap": 5.0},
        {"rope_base": 100.0},
        {"rope_dims": 4},
        {"rope_native_tokens": 8},
        {"xsa_layers": ()},
        {"ln_scale": True},
        {"bigram_first": "zero"},
        {"compute_dtype": "bfloat16"},
    ],
)
def test_every_switch_without_weights_changes_the_logits(values):
    plain, other = lively(), GPT(changed(**values), VOCAB_SIZE)
    other.load_state_dict(plain.state_dict())
    assert not torch.equal(other(draw_ids(2, 20)), plain(draw_ids(2, 20)))


def test_a_model_can_be_without_smear_bigram_and_skips():
    gpt = started(changed(smear_gate="off", bigram_buckets=0, num_layers=1, xsa_layers=()))
    assert gpt(draw_ids(2, 5)).shape == (2, 5, VOCAB_SIZE)
    assert not [name for name, _ in gpt.named_parameters() if name.startswith(("smear", "bigram"))]


def test_an_untied_head_starts_undecided():
    assert not started(changed(tie_embeddings=False))(draw_ids(2, 5)).any()


def test_bfloat16_computes_coarsely_on_float32_masters():
    exact, coarse = lively(), GPT(changed(compute_dtype="bfloat16"), VOCAB_SIZE)
    coarse.load_state_dict(exact.state_dict())
    ids_BT = draw_ids(2, 20)
    assert coarse.hidden(ids_BT).dtype == torch.bfloat16
    assert {parameter.dtype for parameter in coarse.parameters()} == {torch.float32}
    difference = (coarse(ids_BT) - exact(ids_BT)).abs()
    assert 0 < difference.mean() < 0.2, f"max {difference.max()}, mean {difference.mean()}"


def test_logits_are_float32_from_before_the_cap():
    gpt = lively(changed(compute_dtype="bfloat16", logit_softcap=2.0))
    logits_BTV = gpt(draw_ids(2, 20))
    assert logits_BTV.dtype == torch.float32
    assert logits_BTV.abs().max() <= 2
    assert not torch.equal(logits_BTV, logits_BTV.bfloat16().float())  # finer than bfloat16 can be


@pytest.mark.parametrize("preset", ["pr150_v12_nano", "pr549_nano", "pr1493_nano"])
def test_weight_transform_sees_every_parameter_by_name(preset):
    recipe, seen = load_preset(preset).recipe, {}
    gpt = GPT(recipe.model, recipe.data.vocab_size)
    gpt.set_weight_transform(lambda name, weight: seen.setdefault(name, weight))
    gpt(draw_ids(1, 4))
    assert {name: id(weight) for name, weight in seen.items()} == {n: id(w) for n, w in gpt.named_parameters()}


def test_weight_transform_takes_effect_at_once_and_ends_at_once():
    gpt, ids_BT = lively(), draw_ids(2, 20)
    plain = gpt(ids_BT)
    gpt.set_weight_transform(lambda name, weight: weight * 0 if name == "tok_emb.weight" else weight)
    assert not gpt(ids_BT).any()  # the tied head is the embedding, so it is transformed too
    gpt.set_weight_transform(None)
    assert torch.equal(gpt(ids_BT), plain)


def test_gradients_pass_through_the_weight_transform_to_the_master():
    gpt = lively()
    gpt.set_weight_transform(lambda name, weight: weight * 2)
    gpt(draw_ids(2, 5)).sum().backward()
    assert gpt.blocks[0].mlp.fc.weight.grad.any()


@pytest.mark.parametrize(("activation", "expected"), [("relu2", [0.0, 9.0]), ("leaky_relu2", [1.0, 9.0])])
def test_activation_squares_what_passes(activation, expected):
    mlp = MLP(changed(model_dim=2, num_heads=1, num_kv_heads=1, mlp_hidden=2, activation=activation))
    for linear in (mlp.fc, mlp.proj):
        linear.weight.data = torch.eye(2)
    assert mlp(torch.tensor([[-2.0, 3.0]]))[0].tolist() == expected
