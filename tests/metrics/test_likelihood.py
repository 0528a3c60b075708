"""Annealed importance sampling against closed forms of log Z.

E w = Z forward and E w = 1/Z in reverse hold exactly for every number of levels, so the mean of
w·exp(∓log Z) is 1 up to its standard error: 6 of them are a rate of 2e-9 for Gaussian errors. So
that w has all moments in both directions, U - U₀ is linear at most (Gaussians of one width) or
bounded (a box).
"""

import math

import pytest
import torch
from scipy.integrate import simpson

from stanley import (
    HMC,
    MALA,
    Adjusted,
    Langevin,
    RandomWalk,
    ReplicaExchange,
    Stanley,
    StanleyError,
    targets,
)
from stanley.metrics import (
    Bracket,
    GaussianReference,
    UniformReference,
    annealing_schedule,
    bits_per_dimension,
    bracket_log_z,
)
from stanley.metrics.likelihood import Pass, Path
from tests.seeds import stream

WIDE = GaussianReference(torch.zeros(2, dtype=torch.float64), 2.0)
ONES = torch.ones(2, dtype=torch.float64)
UNIT = GaussianReference(0 * ONES, 1.0)
BOX = UniformReference((2,), -1.2, 1.2, torch.float64)
CASES = {
    "gaussian": (UNIT, targets.Gaussian(ONES, torch.tensor([1.0, -0.5], dtype=torch.float64))),
    "mixture": (UNIT, targets.Mixture(torch.tensor([[1.0, 0.0], [-1.0, 0.5]]), 1.0)),
    "double well in a box": (BOX, targets.DoubleWell(2, 1.5)),
    "quartic in a box": (BOX, targets.Quartic(2)),
}
SAMPLERS = {
    "mala": MALA(0.1),
    "hmc": HMC(0.3, num_leapfrog=3),
    "random walk": RandomWalk(0.2),
    "stanley": Adjusted(Stanley(0.2, threshold=2.0)),
}


@pytest.fixture
def generator():
    return stream()


def log_z_in(reference, u):
    """log Z of exp(-U), on the box alone where the reference is one: Simpson's rule on a line,
    twice.
    """
    if isinstance(reference, GaussianReference):
        return u.log_z
    x = torch.linspace(reference.low, reference.high, 2001, dtype=torch.float64)
    one = type(u)(1, u.barrier) if isinstance(u, targets.DoubleWell) else type(u)(1)
    return 2 * math.log(simpson((-one(x[:, None])).exp().numpy(), x=x.numpy()))


def standard_errors(log_w, log_z):
    """How far the mean of w/exp(log Z) is from 1."""
    ratio = (log_w - log_z).exp()
    return float((ratio.mean() - 1) / ratio.std()) * len(ratio) ** 0.5


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("case", CASES)
def test_weights_have_their_exact_means_in_both_directions(case, sampler, generator):
    reference, u = CASES[case]
    log_z, exact = log_z_in(reference, u), u.sample(4000, generator)
    exact = exact[reference(exact).isfinite()]
    found = bracket_log_z(
        u,
        reference,
        SAMPLERS[sampler],
        num_chains=3000,
        num_levels=6,
        generator=generator,
        target_samples=exact,
    )
    assert found.reverse is not None
    assert abs(standard_errors(found.forward.log_weights, log_z)) <= 6
    assert abs(standard_errors(found.reverse.log_weights, -log_z)) <= 6
    # the bounds could fail: six standard errors are less than a third of the mean
    assert 6 * max(found.forward.standard_error, found.reverse.standard_error) < 0.35
    assert found.lower <= log_z + 20  # Markov, whatever the weights: rate e^-20
    assert found.upper >= log_z - 20
    assert 0 < found.forward.acceptance <= 1


def test_a_kernel_that_is_not_invariant_is_noticed(generator):
    """Negative control: the same passes with unadjusted Langevin at half its stable step."""
    u = targets.Gaussian(torch.tensor([1.0, 4.0], dtype=torch.float64))

    class Unadjusted(Langevin):
        def step(self, potential, state, generator):
            state, info = super().step(potential, state, generator)
            return state, info._replace(acceptance=torch.ones_like(state.potential))

    path = Path(u, WIDE, annealing_schedule(12), 3, generator)
    forward = path.forward([Unadjusted(0.5)] * 13, WIDE.draw(4000, generator))
    assert abs(standard_errors(forward.log_weights, u.log_z)) > 6


def test_a_target_that_is_the_reference_has_equal_weights(generator):
    """U = U₀ + c: log w = -c for every chain, in both directions, whatever the moves."""
    u = lambda x: WIDE(x) + 3.25  # noqa: E731
    found = bracket_log_z(
        u,
        WIDE,
        MALA(0.5),
        num_chains=9,
        num_levels=7,
        generator=generator,
        target_samples=WIDE.draw(8, generator),
    )
    assert (found.lower, found.upper) == (
        pytest.approx(-3.25, abs=1e-12),
        pytest.approx(-3.25, abs=1e-12),
    )
    assert found.forward.ess == pytest.approx(9)
    assert (found.forward.n, found.reverse.n) == (9, 8)
    assert "known to" in found.verdict()


def test_one_level_is_importance_sampling(generator):
    """K = 1: w = exp(U₀(x) - U(x)), x the reference's draws, no move."""
    u = targets.Quartic(2)
    state = generator.get_state()
    found = bracket_log_z(
        u, WIDE, MALA(0.1), num_chains=50, num_levels=1, generator=generator, tune=False
    )
    generator.set_state(state)
    x = WIDE.draw(50, generator)
    log_w = WIDE(x) - u(x)
    torch.testing.assert_close(found.forward.log_weights, log_w)
    assert found.lower == pytest.approx(float(log_w.exp().mean().log()), rel=1e-12)
    w = log_w.exp()
    assert found.forward.ess == pytest.approx(float(w.sum() ** 2 / (w**2).sum()))
    assert found.forward.standard_error == pytest.approx(float(w.std() / w.mean()) / 50**0.5)


def test_a_box_as_reference(generator):
    """exp(-U) on [-1, 1]², U = |x|²/2: Z = (∫_{-1}^{1} e^{-x²/2})² = 2π·erf(1/√2)²."""
    box = UniformReference((2,), dtype=torch.float64)
    u = targets.Gaussian(torch.ones(2, dtype=torch.float64))
    log_z = math.log(2 * math.pi) + 2 * math.log(math.erf(0.5**0.5))
    inside = u.sample(9000, generator)
    inside = inside[(inside.abs() <= 1).all(1)]
    found = bracket_log_z(
        u,
        box,
        RandomWalk(0.3),
        num_chains=4000,
        num_levels=6,
        generator=generator,
        target_samples=inside,
    )
    assert abs(standard_errors(found.forward.log_weights, log_z)) <= 6
    assert abs(standard_errors(found.reverse.log_weights, -log_z)) <= 6
    # negative control: not the Z of the whole plane
    assert abs(found.lower - math.log(2 * math.pi)) > 0.5
    assert box(torch.tensor([[0.0, 2.0], [0.5, 0.5]])).tolist() == [
        math.inf,
        pytest.approx(2 * math.log(2)),
    ]


def test_references_are_normalised(generator):
    """E exp(U₀(x) - U₀'(x)) = 1 between two of them."""
    narrow = GaussianReference(
        torch.tensor([0.5, 0.0], dtype=torch.float64), torch.tensor([1.0, 1.5]).double()
    )
    x = WIDE.draw(20_000, generator)
    assert abs(standard_errors(WIDE(x) - narrow(x), 0.0)) <= 6
    law = torch.distributions.Normal(narrow.mean, narrow.std)
    torch.testing.assert_close(-narrow(x), law.log_prob(x).sum(1))


def test_the_schedule():
    betas = annealing_schedule(10)
    assert betas[0] == 0
    assert betas[-1] == 1
    assert betas == sorted(set(betas))
    assert [1 - b for b in reversed(betas)] == pytest.approx(betas, abs=1e-12)
    assert betas[1] < 0.1  # denser at the ends than an even one


def one_pass(log_z, ess=50.0, error=0.05):
    return Pass(log_z, error, ess, 100, 0.5, torch.zeros(100))


@pytest.mark.parametrize(
    ("forward", "reverse", "told"),
    [
        (one_pass(2.0), None, "without an upper bound"),
        (one_pass(2.0), one_pass(9.0), "7 nats wide, but must be at most 1, so annealing has not"),
        (one_pass(9.0), one_pass(2.0), "lower bound exceeds the upper one by t = 7 nats"),
        (one_pass(2.0, ess=1.2), one_pass(2.5), "effective sample size of only 1.2"),
        (one_pass(2.0), one_pass(2.5), "known to 0.5 nats"),
    ],
)
def test_the_verdict_in_words(forward, reverse, told):
    assert told in Bracket(forward, reverse, 10).verdict()


def test_bits_per_dimension_of_a_uniform_model_are_eight(generator):
    """U = 0, log Z = d·log 2 on [-1, 1]: every byte costs 8 bits,
    and a nat of log Z costs 1/(d log 2).
    """
    v = torch.randint(0, 256, (5, 1, 4, 4), generator=generator, dtype=torch.uint8)
    log_z = 16 * math.log(2)
    bracket = Bracket(one_pass(log_z), one_pass(log_z + 3), 1)
    found = bits_per_dimension(lambda x: x.flatten(1).sum(1) * 0, v, bracket, generator=generator)
    assert found.lower == pytest.approx(8, abs=1e-12)
    assert found.upper == pytest.approx(8 + 3 / (16 * math.log(2)), abs=1e-12)
    assert (found.standard_error, found.n, found.dimensions) == (0, 5, 16)
    assert (
        bits_per_dimension(
            lambda x: x.flatten(1).sum(1) * 0,
            v,
            Bracket(one_pass(0.0), None, 1),
            generator=generator,
        ).upper
        is None
    )


def test_bits_per_dimension_bound_the_entropy_of_the_bytes(generator):
    """One pixel with density ∝ e^{-ax}: the bound is the exact one, -∫_cell log p over the bytes of
    its own law,

    -log P(v) <= log 128 - E_u log p(x),  both sides by quadrature over 256 cells; 6 standard
                                          errors.
    """
    a, n = 3.0, 20_000
    log_z = math.log((math.exp(a) - math.exp(-a)) / a)
    edges = torch.linspace(-1, 1, 257, dtype=torch.float64)
    mass = ((-a * edges[:-1]).exp() - (-a * edges[1:]).exp()) / a / math.exp(log_z)
    v = (
        torch.multinomial(mass, n, replacement=True, generator=generator)
        .to(torch.uint8)
        .view(n, 1, 1, 1)
    )
    bracket = Bracket(one_pass(log_z), None, 1)
    found = bits_per_dimension(lambda x: a * x.flatten(1).sum(1), v, bracket, generator=generator)
    middle = (edges[:-1] + edges[1:]) / 2
    # u has mean ½, and log p is linear
    bound = float((mass * (a * middle + log_z)).sum()) / math.log(2) + 7
    entropy = -float((mass * mass.log2()).sum())
    assert bound >= entropy
    assert abs(found.lower - bound) <= 6 * found.standard_error
    assert 6 * found.standard_error < 0.1


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ({"sampler": Langevin(0.1)}, "Metropolis-adjusted sampler, but Langevin is unadjusted"),
        ({"sampler": Adjusted(Stanley(0.1))}, "quantile threshold"),
        ({"sampler": Adjusted(Stanley(0.1, threshold=1.0, refresh="start"))}, "refresh='start'"),
        ({"sampler": ReplicaExchange(MALA(0.1))}, "ReplicaExchange does not: it carries replicas"),
        ({"num_chains": 1}, "num_chains is 1"),
        ({"num_levels": 0}, "num_levels is 0"),
        ({"steps_per_level": 0}, "steps_per_level is 0"),
        ({"betas": [0.0, 0.5, 0.5, 1.0]}, "betas must increase"),
        ({"potential": lambda x: x.sum(1) * torch.nan}, "3 of 3 weights are NaN"),
    ],
)
def test_impossible_requests_name_the_value(call, told, generator):
    usual = {
        "potential": targets.Quartic(2),
        "reference": WIDE,
        "sampler": MALA(0.1),
        "num_chains": 3,
        "num_levels": 2,
    }
    with pytest.raises(StanleyError, match=told) as caught:
        bracket_log_z(**(usual | call), generator=generator, tune=False)
    assert "\n" not in str(caught.value)


def test_impossible_references_and_images(generator):
    with pytest.raises(StanleyError, match="std has an entry 0"):
        GaussianReference(torch.zeros(2), 0.0)
    with pytest.raises(StanleyError, match=r"\[1, 1\]"):
        UniformReference((2,), 1, 1)
    with pytest.raises(StanleyError, match="float32"):
        bits_per_dimension(
            lambda x: x.sum(1),
            torch.zeros(2, 1, 2, 2),
            Bracket(one_pass(0.0), None, 1),
            generator=generator,
        )
