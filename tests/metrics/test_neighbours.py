"""Precision, recall, density and coverage against loops over points,
and their exact expectations.
"""

import math

import pytest
import torch

from stanley.errors import StanleyError
from stanley.metrics import prdc
from tests.seeds import stream


@pytest.fixture
def generator():
    return stream()


def by_hand(x, y, k):
    """From the definitions, one point and one ball at a time."""

    def distance(a, b):
        return math.dist(a.tolist(), b.tolist())

    def radii(p):
        others = ([distance(a, b) for j, b in enumerate(p) if j != i] for i, a in enumerate(p))
        return [sorted(distances)[k - 1] for distances in others]

    rx, ry = radii(x), radii(y)
    inside = [[distance(a, b) <= r for b in y] for a, r in zip(x, rx, strict=True)]
    precision = sum(any(row[j] for row in inside) for j in range(len(y))) / len(y)
    recall = sum(any(distance(a, b) <= r for b, r in zip(y, ry, strict=True)) for a in x) / len(x)
    density = sum(map(sum, inside)) / (k * len(y))
    return precision, recall, density, sum(map(any, inside)) / len(x)


def four(found):
    return found.precision, found.recall, found.density, found.coverage


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("cells", [1, 1 << 24])
def test_they_are_their_definitions(generator, monkeypatch, k, cells):
    monkeypatch.setattr("stanley.metrics.neighbours.CELLS", cells)
    x = torch.randn(30, 3, generator=generator, dtype=torch.float64)
    y = 0.4 + 0.7 * torch.randn(21, 3, generator=generator, dtype=torch.float64)
    found = prdc(x, y, k)
    assert four(found) == pytest.approx(by_hand(x, y, k), abs=1e-12)
    # negative control: another neighbour
    assert four(found) != pytest.approx(by_hand(x, y, k + 1), abs=1e-3)
    assert (found.k, found.num_features, found.num_real, found.num_samples) == (k, 3, 30, 21)


def test_sides_are_not_exchanged(generator):
    """Samples in one place are precise and do not recall; scattered ones are the reverse.
    Exchange exchanges.
    """
    x = torch.randn(200, 2, generator=generator)
    y = 0.01 * torch.randn(200, 2, generator=generator)
    narrow, wide = prdc(x, y), prdc(y, x)
    assert narrow.precision == wide.recall == 1
    assert narrow.recall == wide.precision < 0.1
    assert narrow.coverage < 0.2


def test_expectations_when_both_laws_agree(generator):
    """n - 1 other x and m of the y are exchangeable around x_i. E density = m·(k/n)·n/(km)·… = 1: y
    is among the k nearest of n - 1 others and itself with chance k/n. x_i is not covered where its
    k nearest are all x:

        E coverage = 1 - Π_{l<k} (n - 1 - l)/(n - 1 + m - l).

    300 repetitions, 6 standard errors each: rate 4e-9.
    """
    n, m, k = 20, 15, 3

    def draw(size):
        return torch.randn(size, 2, generator=generator, dtype=torch.float64)

    found = [prdc(draw(n), draw(m), k) for _ in range(300)]
    missed = math.prod((n - 1 - i) / (n - 1 + m - i) for i in range(k))
    for values, expected in (
        ([f.density for f in found], 1.0),
        ([f.coverage for f in found], 1 - missed),
    ):
        values = torch.tensor(values)
        assert abs(float(values.mean()) - expected) <= 6 * float(values.std()) / 300**0.5


def test_coinciding_points(generator):
    """Samples that are the data: everything is reached, and nothing depends on which copy is
    meant.
    """
    x = torch.randn(40, 3, generator=generator)
    assert four(prdc(x, x.clone()))[0:2] == (1, 1)
    assert prdc(x, x.clone()).coverage == 1


@pytest.mark.parametrize(
    ("x", "y", "k", "told"),
    [
        (torch.zeros(5, 2), torch.zeros(9, 2), 5, "5 rows, needs at least 6"),
        (torch.zeros(9, 2), torch.zeros(9, 2), 0, "k is 0"),
        (torch.zeros(9, 2), torch.full((9, 2), torch.nan), 5, "9 rows are not finite"),
    ],
)
def test_impossible_requests_name_the_value(x, y, k, told):
    with pytest.raises(StanleyError, match=told):
        prdc(x, y, k)
