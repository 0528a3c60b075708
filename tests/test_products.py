"""Products of matrices by oneDNN: those of torch bit for bit, or torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from stanley import products
from stanley.products import ALIGNED, NARROW, by_onednn, gains, put_into, times
from stanley.samplers.execution import graph_of

from .seeds import RNG, fresh


def has_onednn() -> bool:
    try:
        return by_onednn(torch.ones(16, 16), None)(torch.ones(16, 16)).shape == (16, 16)
    except (AttributeError, RuntimeError):
        return False


pytestmark = pytest.mark.skipif(not has_onednn(), reason="torch without oneDNN's products")


def normal(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=fresh(), dtype=dtype)


def by_torch(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    return torch.mm(a, b) if bias is None else torch.addmm(bias, a, b)


CLOCK = iter(range(10**9))


@pytest.fixture(autouse=True)
def forget() -> None:
    gains.cache_clear()


@pytest.fixture
def whenever_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN wherever the bits agree: what is timed first, as it is, counts as the quicker."""
    monkeypatch.setattr(products, "seconds", lambda product, a: next(CLOCK))


@pytest.mark.usefixtures("whenever_equal")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("biased", [True, False], ids=["with a bias", "without"])
@pytest.mark.parametrize("transposed", [True, False], ids=["transposed", "as it lies"])
def test_products_are_those_of_torch_bit_for_bit(
    dtype: torch.dtype, biased: bool, transposed: bool
) -> None:
    for _ in range(25):
        n, k, m = (int(2 ** RNG.uniform(0, 9)) for _ in range(3))
        b = normal(m, k, dtype=dtype).t() if transposed else normal(k, m, dtype=dtype)
        bias = normal(m, dtype=dtype) if biased else None
        product = times(b, bias)
        for rows in (n, n, 2 * n):
            a = normal(rows, k, dtype=dtype)
            assert torch.equal(product(a), by_torch(a, b, bias)), (rows, k, m)


@pytest.mark.usefixtures("whenever_equal")
def test_products_of_layers_of_the_plane_are_onednns_where_the_bits_agree(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And it is seen that they are, so that the comparison above says something."""
    asked: list[int] = []
    real = products.by_onednn

    def counting(b: Tensor, bias: Tensor | None) -> products.Times:
        return lambda a: asked.append(len(a)) or real(b, bias)(a)

    monkeypatch.setattr(products, "by_onednn", counting)
    a, b = normal(128, 128), normal(128, 128)
    product = times(b)
    if not torch.equal(real(b, None)(a), torch.mm(a, b)):
        pytest.skip("on this processor the two libraries add in another order")
    product(a)  # which is tried, and compared
    asked.clear()
    product(a)
    assert asked == [128]
    shifted = torch.empty(128 * 128 + 1).as_strided((128, 128), (128, 1), 1)
    shifted.copy_(a)
    assert shifted.data_ptr() % ALIGNED
    assert torch.equal(product(shifted), torch.mm(a, b))
    assert asked == [128]  # no second time
    product(normal(NARROW - 1, 128))
    assert asked == [128]


@pytest.mark.usefixtures("whenever_equal")
def test_what_differs_in_a_bit_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: an operation that is off by one unit in the last place is seen, and refused."""
    real = products.by_onednn

    def off(b: Tensor, bias: Tensor | None) -> products.Times:
        def product(a: Tensor) -> Tensor:
            y = real(b, bias)(a)
            y[-1, -1] = torch.nextafter(y[-1, -1], y.new_tensor(torch.inf))
            return y

        return product

    monkeypatch.setattr(products, "by_onednn", off)
    assert not gains(64, 64, 64, True, False, 1)
    a, b = normal(64, 64), normal(64, 64)
    assert torch.equal(times(b)(a), torch.mm(a, b))


def test_the_slower_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "seconds", lambda product, a: -next(CLOCK))
    assert not gains(64, 64, 64, True, False, 1)


@pytest.mark.parametrize("biased", [True, False], ids=["with a bias", "without"])
def test_a_graph_gets_the_products_that_gain(biased: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, bias = normal(32, 48), normal(48, 64), normal(64)

    def function(a: Tensor, b: Tensor, bias: Tensor) -> Tensor:
        return by_torch(a, b, bias if biased else None).sin() @ b.t()

    for gain in (True, False):
        monkeypatch.setattr(products, "gains", lambda *like, gain=gain: gain)
        graph = graph_of(function, (a, b, bias))
        put_into(graph)
        assert ("stanley.times" in graph.code) == gain
        found, expected = graph(a, b, bias), function(a, b, bias)
        # two sums of at most 64 terms of size |a|·|b|, each rounded at every addition
        size = by_torch(a.abs(), b.abs(), bias.abs()).abs() @ b.t().abs()
        assert ((found - expected).abs() <= 4 * 64 * torch.finfo(a.dtype).eps * size.add(1)).all()


def test_a_graph_takes_a_few_columns_one_by_one() -> None:
    """Two sums of the same 64 terms in another order differ by 2·64·eps·(|a|·|b|) at most."""
    a, b = normal(32, 64), normal(64, 2)
    graph = graph_of(lambda a, b: a @ b, (a, b))
    put_into(graph)
    assert "clone" in graph.code
    bound = 2 * 64 * torch.finfo(a.dtype).eps * (a.abs() @ b.abs())
    assert ((graph(a, b) - a @ b).abs() <= bound).all()
