import pytest
import torch

from trainer.nn.embedding import BigramHash, SmearGate, bigram_buckets
from trainer.spec.recipe import Model

IDS_BT = torch.tensor([[5, 7]])


# With 11 buckets the hash runs modulo 10: 36313·7 = 254191, 27191·5 = 135955, their XOR is 127996 → bucket 6.
# Position 0 hashed with a zero predecessor: 36313·5 = 181565 → bucket 5.
@pytest.mark.parametrize(("first", "expected"), [("reserved", [10, 6]), ("zero", [5, 6])])
def test_buckets_worked_by_hand(first, expected):
    assert bigram_buckets(IDS_BT, 11, first).tolist() == [expected]


def test_no_bigram_but_the_first_falls_into_the_reserved_bucket():
    ids_BT = torch.randint(1024, (4, 500), generator=torch.Generator().manual_seed(0))
    buckets_BT = bigram_buckets(ids_BT, 16, "reserved")
    assert (buckets_BT[:, 0] == 15).all()
    assert set(buckets_BT[:, 1:].unique().tolist()) == set(range(15))


def test_no_projection_when_the_widths_agree():
    model = Model(model_dim=128, bigram_dim=128, num_heads=2, num_kv_heads=1)
    assert BigramHash(model, torch.float32).proj is None


def test_smear_starts_as_an_even_blend_and_halves_the_first_token():
    x_BTD = torch.tensor([[[2.0], [4.0], [10.0]]])
    assert SmearGate(1)(x_BTD).flatten().tolist() == [1.0, 3.0, 7.0]


def test_a_closed_smear_gate_lets_nothing_of_the_predecessor_through():
    gate = SmearGate(1)
    torch.nn.init.constant_(gate.gate, -100.0)
    x_BTD = torch.tensor([[[2.0], [4.0], [10.0]]])
    assert torch.equal(gate(x_BTD), x_BTD)
