"""Inception-style score against its definition, its bounds, and closed forms."""

import math

import pytest
import torch

from stanley.errors import StanleyError
from stanley.metrics import class_score
from tests.seeds import stream


@pytest.fixture
def probabilities():
    g = stream()
    return (3 * torch.randn(53, 7, generator=g, dtype=torch.float64)).softmax(1)


def by_hand(p):
    marginal = [sum(row[c] for row in p) / len(p) for c in range(len(p[0]))]
    kl = [sum(q * math.log(q / marginal[c]) for c, q in enumerate(row)) for row in p]
    return math.exp(sum(kl) / len(kl))


def test_it_is_its_definition(probabilities):
    p = probabilities.tolist()
    assert class_score(probabilities, splits=1).value == pytest.approx(by_hand(p), rel=1e-12)
    parts = [by_hand(p[:17]), by_hand(p[17:35]), by_hand(p[35:])]  # edges at ⌊53 i/3⌋
    found = class_score(probabilities, splits=3)
    mean = sum(parts) / 3
    assert found.value == pytest.approx(mean, rel=1e-12)
    assert found.sd == pytest.approx(math.sqrt(sum((s - mean) ** 2 for s in parts) / 3), rel=1e-9)
    assert (found.n, found.num_classes, found.splits) == (53, 7, 3)
    assert by_hand(p) != pytest.approx(mean, rel=1e-3)  # negative control: splits matter


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_bounds(share):
    """Certain and balanced: K. The same answer for all: 1. p = (1 - ε)·certain + ε·uniform:
    exp(log K - H(p)).
    """
    K = 5
    p = (1 - share) * torch.eye(K, dtype=torch.float64).repeat(4, 1) + share / K
    top, rest = 1 - share + share / K, share / K
    entropy = -top * math.log(top) - ((K - 1) * rest * math.log(rest) if rest else 0)
    assert class_score(p, splits=2).value == pytest.approx(K * math.exp(-entropy), rel=1e-12)
    assert class_score(p[:1].repeat(9, 1), splits=3).value == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("p", "splits", "told"),
    [
        (torch.zeros(4, 3), 1, "sum to 1 up to 1"),
        (torch.tensor([[1.5, -0.5]]), 1, "-0.5"),
        (torch.full((4, 2), 0.5), 5, "splits is 5"),
        (torch.ones(4), 1, r"\(4,\)"),
    ],
)
def test_impossible_requests_name_the_value(p, splits, told):
    with pytest.raises(StanleyError, match=told):
        class_score(p, splits)
