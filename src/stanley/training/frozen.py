"""The energy as chains see it: a function of x alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen(energy: nn.Module) -> Iterator[None]:
    """The energy as a function of x alone: evaluation mode, and no gradients of the parameters.

    Inside the block each spectral norm is computed once. Parameters that were not trained before
    it are not trained after it.
    """
    trained = [p for p in energy.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.requires_grad = False
    energy.eval()
    try:
        with nn.utils.parametrize.cached():
            yield
    finally:
        energy.train()
        for parameter in trained:
            parameter.requires_grad = True
