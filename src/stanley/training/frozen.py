"""The energy of a training run as its chains see it: a function of x alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from stanley.samplers.execution import Execution
from stanley.samplers.joint import Joint, joint, observed
from stanley.types import Energy


class Frozen:
    """A potential of an energy that is in training, as a function of x alone.

    Where the gradient to x is known without autograd (`samplers.joint`) nothing has to be done to
    the energy, and how it is computed is looked up once for as long as its weights lie where they
    are: an optimiser moves them there. Not seen is what else is done to the network between two
    iterations, such as a hook that is put on it.
    """

    def __init__(self, energy: nn.Module, execution: Execution) -> None:
        self.energy = energy
        self.weights = list(energy.parameters())
        self.eager = execution in ("auto", "eager")
        self.asked: object = (
            None  # the potential that was looked up last, and where its weights lie
        )
        self.known: Energy | None = None  # and what was found

    @contextmanager
    def __call__(self, potential: Energy, x: Tensor) -> Iterator[Energy]:
        """The potential of the energy, for chains like x (B, *event), within the block."""
        known = self.looked_up(potential, x)
        if isinstance(known, Joint) and not observed(x):
            yield known
        else:
            with frozen(self.energy):
                yield potential

    def looked_up(self, potential: Energy, x: Tensor) -> Energy | None:
        if self.eager:
            asked = potential, [weight.data_ptr() for weight in self.weights]
            if self.asked != asked:
                self.asked, self.known = asked, joint(potential, x)
        return self.known


@contextmanager
def frozen(energy: nn.Module) -> Iterator[None]:
    """Evaluation mode, and no gradients of the parameters.

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
