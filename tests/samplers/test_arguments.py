"""What people have is taken for what it stands for, and what it does not stand for is one line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import distributions as D

import stanley
from stanley.data import Rings
from stanley.diagnostics import (
    bias_against_adjusted,
    couple,
    drift_ratio,
    h1_on_rays,
    points_on_rays,
)
from stanley.errors import StanleyError
from stanley.judging.diagnose import Effort
from stanley.metrics import kernel_distance, mmd_test
from stanley.metrics.likelihood import GaussianReference, bracket_log_z
from stanley.samplers import HMC, MALA, Langevin, adapt, run_chains
from stanley.samplers.arguments import FIRST_STEP, as_positions
from stanley.streams import stream
from stanley.targets import Banana, Gaussian
from tests.seeds import fresh_seed

TARGET = Gaussian.from_std(torch.tensor([1.0, 2.0], dtype=torch.float64))
NET = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Flatten(1))
LIGHT = Effort(chains=4, steps=8, pairs=0, rays=0, copies=0)


def energy(x):
    return NET(x).square().sum(1) + x.square().sum(1)


class Energy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = NET

    def forward(self, x):
        return energy(x)


def seed() -> int:
    return fresh_seed() % 2**62


def x0(n: int = 6) -> torch.Tensor:
    return torch.randn(n, 2, generator=stream(seed()), dtype=torch.float64)


#: Every function that draws, as one number or tensor of its result.
DRAWS = {
    "run_chains": lambda x, **g: run_chains(MALA(0.3), TARGET, x, 5, **g).x,
    "adapt": lambda x, **g: adapt(MALA(0.3), TARGET, x, 5, **g)[1],
    "draw": lambda x, **g: stanley.draw(TARGET, start=x, chains=6, warm_up=20, ess=1, **g).points,
    "diagnose": lambda x, **g: (
        stanley.diagnose(MALA(0.3), TARGET, None, x, effort=LIGHT, **g).draws
    ),
    "couple": lambda x, **g: couple(MALA(0.3), TARGET, (x, x + 1), max_steps=5, **g).distances,
    "drift_ratio": lambda x, **g: drift_ratio(MALA(0.3), TARGET, x, num_copies=3, **g).ratio,
    "h1_on_rays": lambda x, **g: h1_on_rays(TARGET, (2,), num_rays=3, **g).radial,
    "points_on_rays": lambda x, **g: points_on_rays((2,), **g),
    "bias_against_adjusted": lambda x, **g: (
        bias_against_adjusted(Langevin(0.3), TARGET, x, 6, **g).functions["mean"].difference
    ),
    "bracket_log_z": lambda x, **g: (
        bracket_log_z(
            TARGET,
            GaussianReference(torch.zeros(2, dtype=torch.float64)),
            "mala",
            num_chains=4,
            num_levels=3,
            tune=False,
            **g,
        ).forward.log_weights
    ),
    "kernel_distance": lambda x, **g: (
        kernel_distance(x, x + 1, subset_size=3, num_subsets=3, **g).subset_mean
    ),
    "mmd_test": lambda x, **g: mmd_test(x[:60], x[60:], 19, **g).p_value,
    "sample of a target": lambda x, **g: TARGET.sample(3, **g),
    "sample of data": lambda x, **g: Rings().sample(3, **g),
}
OF_ONE_SEED = ("run_chains", "adapt", "diagnose", "couple")


def same(a, b) -> bool:
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("name", list(DRAWS))
def test_a_seed_is_the_stream_of_the_function(name):
    """One seed, one result; another seed, another; and the generator is that of `stream`."""
    draws, s, x = DRAWS[name], seed(), x0(120 if name == "mmd_test" else 6)
    one = draws(x, seed=s)
    assert same(one, draws(x, seed=np.int64(s)))
    what = "sample" if name.startswith("sample") else name
    assert same(one, draws(x, generator=stream(s, what)))
    if name != "mmd_test":  # 20 possible values
        assert not same(one, draws(x, seed=s + 1))


@pytest.mark.parametrize("name", [name for name in DRAWS if name != "draw"])
def test_without_randomness_it_is_asked_for(name):
    with pytest.raises(StanleyError, match=r"draws random numbers: give seed=0") as error:
        DRAWS[name](x0())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", list(DRAWS))
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"seed": 1.5}, "seed is 1.5, must be a whole number"),
        ({"seed": "three"}, "seed is 'three', must be a whole number"),
        ({"seed": -1}, r"seed is -1, must lie in \[0, 2"),
        ({"generator": 3}, "generator is 3, must be a torch.Generator; for a number use seed="),
        (
            {"generator": np.random.default_rng(0)},
            r"\(Generator\), must be a torch.Generator",
        ),
    ],
    ids=["fraction", "word", "negative", "number", "numpy"],
)
def test_wrong_randomness_is_one_line(name, given, told):
    with pytest.raises(StanleyError, match=told) as error:
        DRAWS[name](x0(), **given)
    assert "\n" not in str(error.value)


def test_two_functions_of_one_seed_share_no_numbers():
    s, x = seed(), x0()
    ended = [DRAWS[name](x, seed=s) for name in ("run_chains", "adapt")]
    assert not torch.equal(*ended)


def test_both_is_one_too_many():
    with pytest.raises(StanleyError, match="leave the other out"):
        run_chains(MALA(0.3), TARGET, x0(), 5, seed=1, generator=torch.Generator())


def test_a_name_is_the_sampler_at_the_first_step_size():
    s, x = seed(), x0()
    for name, sampler in {"mala": MALA(FIRST_STEP), "hmc": HMC(FIRST_STEP)}.items():
        named = run_chains(name, TARGET, x, 5, seed=s)
        assert torch.equal(named.x, run_chains(sampler, TARGET, x, 5, seed=s).x)
    found, _ = adapt("adjusted-stanley", TARGET, x, 30, seed=s)
    assert found.kind == "adjusted"


ROWS = [[0.5, 1.0], [2.0, -1.0], [0.0, 0.25]]
NUMBERS = torch.tensor(ROWS, dtype=torch.float64)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (ROWS, torch.float64),
        (tuple(map(tuple, ROWS)), torch.float64),
        (np.array(ROWS), torch.float64),
        (np.array(ROWS, dtype=np.float32), torch.float32),
        (np.array(ROWS, dtype=np.float16), torch.float64),
        (list(NUMBERS.float()), torch.float32),
        (np.array(ROWS)[::-1], torch.float64),
    ],
    ids=["lists", "tuples", "float64", "float32", "float16", "tensors", "view"],
)
def test_arrays_and_lists_are_positions(given, kind):
    """They start the chains that the same numbers start as a tensor, and are left alone."""
    s = seed()
    numbers = NUMBERS.flip(0) if isinstance(given, np.ndarray) and given.strides[0] < 0 else NUMBERS
    before = np.array(given)
    out = run_chains("mala", TARGET, given, 4, seed=s)
    assert out.x.dtype == kind
    assert torch.equal(out.x, run_chains("mala", TARGET, numbers.to(kind), 4, seed=s).x)
    assert np.array_equal(before, np.array(given))


def test_whole_numbers_are_positions():
    assert torch.equal(as_positions([[1, 2]]), torch.tensor([[1.0, 2.0]], dtype=torch.float64))


def test_an_array_takes_the_type_of_the_network():
    """numpy's float64 beside weights in float32."""
    assert run_chains("mala", Energy(), np.array(ROWS), 3, seed=0).x.dtype == torch.float32
    assert as_positions(NUMBERS, Energy()) is NUMBERS


def test_a_distribution_is_a_potential():
    out = run_chains("mala", D.Gamma(2.0, 3.0), [[0.1]] * 4, 20, seed=0)
    assert out.x.shape == (4, 1)
    with pytest.raises(StanleyError, match="Parameters without a density"):
        run_chains("mala", stanley.Parameters(a=stanley.real()), [[0.1]], seed=0)


def test_the_usual_numbers_of_steps():
    x = x0(2)
    out = run_chains("random-walk", TARGET, x, seed=0)
    assert out.info.num_potentials == 1001
    counted = run_chains(MALA(0.1), TARGET, x, np.int64(4), seed=0, keep_every=np.int64(2))
    assert counted.draws.shape == (2, 2, 2)


def test_a_diagnosis_needs_no_starts():
    found = stanley.diagnose("mala", Banana(), seed=seed(), effort=LIGHT)
    assert found.draws.shape == (8, 4, 2)
    with pytest.raises(StanleyError, match="the shape of a point is not known"):
        stanley.diagnose("mala", lambda x: x.square().sum(1), seed=0, effort=LIGHT)


def test_draws_are_thinned():
    every = {"chains": 6, "warm_up": 20, "ess": 1, "rhat": 9.0, "budget": 1, "seed": seed()}
    all_of_them = stanley.draw(TARGET, **every)
    tenth = stanley.draw(TARGET, keep_every=10, **every)
    assert len(all_of_them.points) == len(tenth.points) == 200
    assert (all_of_them.keep_every, tenth.keep_every) == (1, 10)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sampler": "mela"}, "did you mean 'mala'"),
        ({"sampler": MALA}, r"is the class MALA; give one of it, such as MALA\(0.1\)"),
        ({"sampler": 0.1}, "sampler is of type float, which has no init and step"),
        ({"potential": "banana"}, "a potential is called"),
        ({"potential": None}, "a potential is called"),
        ({"x0": [[1.0, 2.0], [3.0]]}, "whose rows differ in their shape"),
        ({"x0": [["a", "b"]]}, "must be numbers"),
        ({"x0": None}, "must be numbers"),
        ({"x0": np.array([[1 + 1j, 2]])}, "must be numbers"),
        ({"x0": [1.0, 2.0]}, r"x0 has shape \(2,\)"),
        ({"num_steps": 2.5}, "num_steps is 2.5, must be a whole number"),
        ({"num_steps": "9"}, "num_steps is '9', must be a whole number"),
        ({"num_steps": -3}, "num_steps is -3, must be a whole number of at least 1"),
    ],
    ids=[
        "misspelt", "class", "number", "name of a density", "none", "ragged", "words", "no x0",
        "complex", "flat", "fraction", "word", "negative",
    ],
)  # fmt: skip
@pytest.mark.parametrize("function", [run_chains, adapt], ids=["run_chains", "adapt"])
def test_what_is_wrong_is_one_line(function, change, told):
    ask = {"sampler": "mala", "potential": TARGET, "x0": NUMBERS, "num_steps": 3} | change
    with pytest.raises(StanleyError, match=told) as error:
        function(*ask.values(), seed=0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [0, 2.5, "2", 9])
def test_keep_every_is_a_whole_number_within_the_run(value):
    with pytest.raises(StanleyError, match=r"keep_every is .* must be a whole number between 1"):
        run_chains("mala", TARGET, NUMBERS, 3, seed=0, keep_every=value)
    if value != 9:
        with pytest.raises(StanleyError, match="keep_every is"):
            stanley.draw(TARGET, keep_every=value)
