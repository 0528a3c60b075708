"""The schedule at its corners, and the weight average."""

from __future__ import annotations

import pytest
import torch

from stanley.errors import StanleyError
from stanley.training.optim import SGD, Adam, schedule, update_average


def test_schedule_corners() -> None:
    assert schedule(0, 100, warmup=10, decay=0.4) == 0.1
    assert schedule(9, 100, warmup=10, decay=0.4) == 1.0
    assert schedule(60, 100, warmup=10, decay=0.4) == 1.0
    # half-way down a cosine
    assert schedule(80, 100, warmup=10, decay=0.4) == pytest.approx(0.5, abs=1e-12)
    assert schedule(99, 100, warmup=0, decay=0.4) < 0.002
    assert all(schedule(t, 100, warmup=0, decay=0.0) == 1.0 for t in range(100))


def test_average_is_the_recursion() -> None:
    energy, average = (torch.nn.Linear(1, 1, bias=False, dtype=torch.float64) for _ in range(2))
    torch.nn.init.zeros_(average.weight)
    torch.nn.init.ones_(energy.weight)
    expected = 0.0
    for step in range(50):
        update_average(average, energy, 0.9, step)
        beta = min(0.9, (1 + step) / (10 + step))
        expected = beta * expected + (1 - beta)
    assert average.weight.item() == pytest.approx(expected, rel=1e-12)
    assert expected > 0.98  # the first weights fade although 0.9^50 of a plain average would too


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Adam(lr=0), "lr"),
        (lambda: Adam(beta1=1.0), "beta1"),
        (lambda: SGD(momentum=-1), "momentum"),
    ],
)
def test_bad_values_name_the_field(make: object, field: str) -> None:
    with pytest.raises(StanleyError, match=f"optimizer.{field}"):
        make()  # type: ignore[operator]
