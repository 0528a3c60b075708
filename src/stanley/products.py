"""Products of matrices, by the quicker of two libraries where both give the same bits.

On a CPU torch multiplies float32 matrices with the library that it was built with, on x86 MKL,
which keeps to AVX2 on processors of other makers. oneDNN, which torch brings along for
convolutions, uses AVX-512 wherever it is: twice as fast on an AMD EPYC for layers of 128 units. For
up to some two hundred terms both add them up in order, so that no bit differs; for more they add
in blocks of different sizes. Which is quicker and whether they agree is found out once for each
shape: the products are tried, compared bit by bit, and timed. So a product is what `torch.addmm`
gives, whatever becomes of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

mkldnn: Any = torch.ops.mkldnn
#: Matrices with fewer rows or columns gain nothing.
NARROW = 16
#: Products of each library that are timed, of which the quickest counts.
TRIES = 5
#: Bytes at whose multiples matrices must begin: elsewhere the libraries' sums were not compared.
ALIGNED = 64

Times = Callable[[Tensor], Tensor]
KEPT: list[torch.library.Library] = []


def times(b: Tensor, bias: Tensor | None = None) -> Times:
    """The function a ↦ a·b (+ bias) for matrices a (n, k) of any n and this b (k, m): bit for bit
    `torch.mm` and `torch.addmm`."""
    plain = by_torch(b, bias)
    cpu = b.device.type == "cpu" and b.dtype is torch.float32
    if not cpu or min(b.shape) < NARROW or b.data_ptr() % ALIGNED:
        return plain
    quick, takes = by_onednn(b, bias), {}

    def multiply(a: Tensor) -> Tensor:
        n = a.shape[0]  # len() of a tensor takes longer than what follows
        if n not in takes:
            like = (n, *b.shape, b.is_contiguous(), bias is not None, torch.get_num_threads())
            takes[n] = n >= NARROW and gains(*like)
        return quick(a) if takes[n] and a.data_ptr() % ALIGNED == 0 else plain(a)

    return multiply


def put_into(graph: GraphModule) -> None:
    """In a graph of tensor operations the quickest products of matrices: oneDNN's, where it gives
    the same bits, and MKL's by matrices of a few columns in another order in memory, which rounds
    otherwise.
    """
    aten, nodes = torch.ops.aten, graph.graph.nodes
    for node in [n for n in nodes if n.target in (aten.mm.default, aten.addmm.default)]:
        *bias, a, b = node.args
        (n, _), right = shape_of(a), shape_of(b)
        plain = [v.dtype is torch.float32 and v.device.type == "cpu" for v in (seen(a), seen(b))]
        if len(node.kwargs) or not all(plain):
            continue
        like = (n, *right, seen(b).is_contiguous(), bool(bias), torch.get_num_threads())
        with graph.graph.inserting_before(node):
            if min(n, *right) >= NARROW and gains(*like):
                turned = graph.graph.call_function(aten.permute.default, (b, [1, 0]))
                quick = graph.graph.call_function(operation(), (a, turned, *bias))
            elif not bias and right[1] < NARROW and seen(b).is_contiguous():
                quick = graph.graph.call_function(aten.mm.default, (a, by_columns(graph, b)))
            else:
                continue
        quick.meta = dict(node.meta)
        node.replace_all_uses_with(quick)
        graph.graph.erase_node(node)
    graph.recompile()


def by_columns(graph: GraphModule, b: Any) -> Any:
    """The same matrix (k, m) column by column in memory. MKL multiplies by a few columns three to
    five times as fast where each lies in one piece.
    """
    aten, call = torch.ops.aten, graph.graph.call_function
    turned = call(aten.permute.default, (b, [1, 0]))
    copied = call(aten.clone.default, (turned,), {"memory_format": torch.contiguous_format})
    return call(aten.permute.default, (copied, [1, 0]))


def seen(node: Any) -> Tensor:
    """What a node of a graph was when it was traced."""
    return node.meta["val"]


def shape_of(node: Any) -> tuple[int, ...]:
    return tuple(seen(node).shape)


@lru_cache(maxsize=1)
def operation() -> Any:
    """a·b of a and bᵀ by oneDNN, as an operation that a compiler calls and does not look into: it
    knows that of torch with weights that never move alone.
    """
    library = torch.library.Library("stanley", "DEF")
    library.define("times(Tensor a, Tensor turned, Tensor? bias=None) -> Tensor")
    library.impl("times", onednn, "CPU")
    library.impl("times", lambda a, turned, bias=None: a.new_empty(len(a), len(turned)), "Meta")
    KEPT.append(library)  # what a library defines goes with it
    of_stanley = torch.ops.stanley.times.default
    with suppress(ImportError, AttributeError):  # else it is called through Python, a little later
        from torch._inductor.lowering import fallback_handler, register_lowering

        handler = fallback_handler(mkldnn._linear_pointwise.default, add_to_fallback_set=False)
        register_lowering(of_stanley, type_promotion_kind=None)(
            lambda a, turned, bias=None: handler(a, turned, bias, "none", [], "")
        )
    return of_stanley


def onednn(a: Tensor, turned: Tensor, bias: Tensor | None = None) -> Tensor:
    return mkldnn._linear_pointwise(a, turned, bias, "none", [], "")


def by_torch(b: Tensor, bias: Tensor | None) -> Times:
    return (lambda a: torch.mm(a, b)) if bias is None else lambda a: torch.addmm(bias, a, b)


def by_onednn(b: Tensor, bias: Tensor | None) -> Times:
    """The same by oneDNN, whose operation takes plain tensors and wants bᵀ."""
    transposed = b.t()
    return lambda a: onednn(a, transposed, bias)


@lru_cache(maxsize=1024)
def gains(n: int, k: int, m: int, contiguous: bool, biased: bool, threads: int) -> bool:
    """Whether oneDNN gives the bits of torch for matrices (n, k) and (k, m), and sooner."""
    if not torch.backends.mkldnn.is_available():
        return False
    a, b, bias = matrix(n, k, 0.7), matrix(k, m, 1.3), matrix(1, m, 2.1)[0] if biased else None
    b = b if contiguous else b.t().contiguous().t()
    plain, quick = by_torch(b, bias), by_onednn(b, bias)
    try:
        same = torch.equal(quick(a), plain(a))
    except (AttributeError, RuntimeError):  # torch without it, or a processor that it does not know
        return False
    return same and seconds(quick, a) < seconds(plain, a)


def matrix(rows: int, columns: int, frequency: float) -> Tensor:
    """Numbers of both signs and of many sizes, the same each time."""
    t = torch.arange(rows * columns, dtype=torch.float64)
    return ((frequency * t).sin() * (0.01 * t).cos().exp()).float().view(rows, columns)


def seconds(product: Times, a: Tensor) -> float:
    """The shortest of some calls."""
    best = math.inf
    for _ in range(TRIES):
        began = time.perf_counter()
        product(a)
        best = min(best, time.perf_counter() - began)
    return best
