"""What is asked: arms, settings, budgets, and what is refused in one line."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch

from stanley.comparing import Comparison
from stanley.comparing.budget import gradients_of_an_iteration, share_of, steps_in
from stanley.comparing.comparison import edges, folder_name, next_value, setting_name
from stanley.comparing.given import named
from stanley.comparing.task import more_is_better, number_in
from stanley.comparing.trained import features_of
from stanley.config import from_dict, to_dict
from stanley.errors import StanleyError
from stanley.samplers import HMC, Quantile, run_chains
from stanley.samplers.named import SingleSampler, sampler_named
from stanley.targets import Gaussian
from stanley.training.objectives.contrastive import Growth
from stanley.training.recipes import recipe
from tests.seeds import fresh

TWO = {"langevin": {"sampler": "langevin"}, "stanley": {"sampler": "stanley"}}


def asked(**fields: Any) -> Comparison:
    return Comparison(**({"recipe": "rings", "arms": TWO} | fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"arms": {}}, "arms is empty"),
        ({"arms": {"a/b": {}}}, "names a folder"),
        ({"arms": {"\x1b[31m": {}}}, "names a folder"),
        ({"arms": {"A b": {}, "a-b": {}}}, "share the folder"),
        ({"baseline": "langevan"}, "langevin"),
        ({"seeds": 0}, "seeds is 0"),
        ({"first_seed": -1}, "first_seed is -1"),
        ({"first_tuning_seed": 3, "grid": {"steps.x": [1]}}, "seed 3 is tuned on and reported"),
        ({"budget": "seconds"}, "seconds is None"),
        ({"seconds": 3.0}, "budget is gradients"),
        ({"budget": "seconds", "seconds": -1.0}, "must be > 0"),
        ({"grid": {"sampler.step_size": []}}, "is empty"),
        ({"grid": {"sampler.step_size": [1, 1]}}, "twice"),
        ({"grid": {"seed": [1, 2]}}, "have in common"),
        ({"seeds": 10**6}, "at most"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_asked_is_one_line(fields: dict[str, Any], message: str):
    with pytest.raises(StanleyError, match=message):
        asked(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"arms": {"a": {"sampler": "langevin"}, "b": {"sampler": "langevin"}}}, "same config"),
        ({"arms": {"a": {}, "b": {"sampler": "langevni"}}}, "arm 'b'.*langevin"),
        ({"arms": {"a": {}, "b": {"sampler.step_sise": 1}}}, "step_size"),
        ({"arms": {"a": {}, "b": {"data": "gmm"}}}, "other data"),
        ({"grid": {"sampler.friction": [1.0, 2.0]}}, "no arm has"),
        ({"grid": {"sampler.step_size": [0.1, -1.0]}}, "step_size is -1"),
        ({"recipe": "ringz"}, "rings"),
        ({"scores": ["kl", "kll"]}, "no score 'kll': did you mean 'kl'"),
        ({"scores": ["frsh.mmd2"]}, "did you mean 'fresh'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_trained_is_found_before_the_first_run(fields: dict[str, Any], message: str):
    with pytest.raises(StanleyError, match=message):
        asked(**fields).check()


def test_an_arm_is_tuned_in_the_fields_that_it_has_and_does_not_set():
    grid: dict[str, list[Any]] = {
        "sampler.step_size": [0.01, 0.02],
        "sampler.threshold": [1.0, 3.0, {"quantile": 0.5}],
    }
    three = TWO | {"fixed": {"sampler": "stanley", "sampler.threshold": 2.0}}
    comparison = asked(arms=three, grid=grid)
    assert [len(comparison.settings(arm)) for arm in three] == [2, 6, 2]
    assert comparison.settings("fixed")[0] == {"sampler.step_size": 0.01}


def test_an_arm_that_sets_a_part_of_a_value_is_not_tuned_over_it():
    """A quantile is part of the threshold: any number of the grid would leave the arm as it is."""
    inside = {"sampler": "stanley", "sampler.threshold": {"quantile": 0.5}}
    comparison = asked(
        arms=TWO | {"inside": inside},
        grid={"sampler.step_size": [0.01, 0.02], "sampler.threshold": [1.0, 3.0]},
    )
    assert [len(comparison.settings(arm)) for arm in comparison.arms] == [2, 4, 2]
    config = comparison.config("inside", comparison.settings("inside")[0])
    assert config.sampler.threshold == Quantile(0.5)  # type: ignore[union-attr]


def test_a_tuned_step_size_stays_where_it_is():
    """The recipe steers the step size by the acceptance, and would leave the tuned one."""
    arms = {"mala": {"sampler": "mala"}, "steered": {"sampler": "mala", "batch": 128}}
    comparison = asked(arms=arms, grid={"sampler.step_size": [0.01]})
    config = comparison.config("mala", {"sampler.step_size": 0.01})
    assert config.chains.adapt is None
    assert comparison.config("mala").chains.adapt is not None  # where it is not tuned
    kept = asked(
        arms={"mala": {"sampler": "mala", "objective.adapt.rate": 0.07}},
        grid={"sampler.step_size": [0.01]},
    )
    assert kept.config("mala", {"sampler.step_size": 0.01}).chains.adapt is not None


def test_a_variance_of_the_grid_is_the_square_of_a_time():
    comparison = asked(
        arms={"hmc": {"sampler": "hmc"}, "mala": {"sampler": "mala"}},
        grid={"sampler.step_size": [0.04]},
    )
    setting = {"sampler.step_size": 0.04}
    assert comparison.config("hmc", setting).sampler.step_size == pytest.approx(0.2)  # type: ignore[union-attr]
    assert comparison.config("mala", setting).sampler.step_size == 0.04  # type: ignore[union-attr]


KINDS = [
    s.kind for s in get_args(SingleSampler) if s.kind not in ("adjusted", "chees-hmc", "chees")
] + ["adjusted-stanley"]


def counted_and_stated(sampler: Any, steps: int) -> tuple[float, float]:
    """Gradients of one chain: those that `run_chains` counts, and those that the budget states."""
    config = replace(
        recipe("rings"),
        sampler=sampler,
        objective=replace(recipe("rings").chains, adapt=None, chain_steps=steps),
        batch=16,
    )
    x = torch.randn(16, 3, generator=fresh())
    chains = run_chains(sampler, Gaussian(torch.eye(3)), x, steps, generator=fresh())
    stated = gradients_of_an_iteration(config)
    assert stated is not None
    return chains.info.num_gradients + chains.info.num_potentials / 2, stated / 16


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_that_the_chains_count(kind: str):
    """What the budget takes from a sampler's traits is what `run_chains` counts."""
    sampler = sampler_named(kind, 0.1)
    if isinstance(sampler, HMC):
        sampler = replace(sampler, jitter=False)
    counted, stated = counted_and_stated(sampler, 7)
    assert stated == counted


def test_gradients_of_trajectories_of_random_length_are_those_of_the_mean():
    """Lengths are uniform on {1, …, 2L - 1}: by Hoeffding the mean of n leaves L by more than
    (2L - 2)·√(log(2/δ)/2n) with probability δ = 1e-9 at most.
    """
    sampler, steps = HMC(step_size=0.1), 400
    counted, stated = counted_and_stated(sampler, steps)
    width = (2 * sampler.num_leapfrog - 2) * math.sqrt(math.log(2e9) / (2 * steps))
    assert abs(counted - stated) < steps * width
    longer, _ = counted_and_stated(replace(sampler, num_leapfrog=20), steps)
    assert abs(longer - stated) > steps * width  # the control: twice as long


@pytest.mark.parametrize("kind", KINDS)
def test_every_arm_gets_the_recipes_gradients_and_no_more(kind: str):
    comparison = asked(
        arms={"base": {"sampler": "langevin"}, "own": {"sampler": kind, "batch": 64}},
        fields={"steps": 100},
    )
    config = comparison.on_budget("own", comparison.config("own"), 0)
    wanted = share_of(comparison.base()).gradients
    got = share_of(config).gradients
    assert wanted is not None
    assert got is not None
    assert got <= wanted * 1.02
    each = gradients_of_an_iteration(config)
    assert each is not None
    assert got >= min(wanted * 0.98, wanted - each)  # short of one iteration at most


def test_a_step_that_costs_the_same_gets_the_same_steps():
    arms = {"langevin": {"sampler": "langevin"}, "mala": {"sampler": "mala"}}
    comparison = asked(arms=arms, fields={"steps": 100})
    for arm in arms:
        share = share_of(comparison.on_budget(arm, comparison.config(arm), 0))
        assert (share.steps, share.chain_steps) == (100, 10)


def test_an_arm_that_sets_k_gets_other_iterations():
    arms = {"base": {"sampler": "langevin"}, "long": {"objective.chain_steps": 100}}
    comparison = asked(arms=arms, fields={"steps": 100})
    config = comparison.on_budget("long", comparison.config("long"), 0)
    assert config.chains.chain_steps == 100
    assert config.steps == int(100 * 11 / 101)


def test_chains_that_grow_cost_what_they_take_on_average():
    """K from 4 to 12 over the whole run is 8 on average, and the start's gradient besides."""
    growing = replace(
        recipe("rings"),
        sampler=sampler_named("langevin", 0.1),
        objective=replace(
            recipe("rings").chains, adapt=None, chain_steps=4, growth=Growth(12, share=1.0)
        ),
        batch=16,
        steps=400,
    )
    steps = [growing.chains.chain_steps_at(k, growing.steps) for k in range(growing.steps)]
    assert share_of(growing).gradients == pytest.approx(16 * (sum(steps) + 400))
    assert gradients_of_an_iteration(growing) == pytest.approx(16 * 9, rel=0.01)
    constant = replace(growing, objective=replace(growing.chains, growth=None))
    assert gradients_of_an_iteration(constant) == 16 * 5


def test_an_objective_without_chains_has_no_gradients_to_count():
    arms = {"chains": {}, "denoised": {"objective": "denoising", "network": "level-mlp"}}
    comparison = asked(arms=arms)
    with pytest.raises(StanleyError, match=r"arm 'denoised'.*budget seconds"):
        comparison.on_budget("denoised", comparison.config("denoised"), 0)


def test_seconds_become_iterations():
    tiny = asked(fields={"network.width": 8, "batch": 16, "objective.bank_size": 16})
    config = tiny.config("langevin")
    few, many = steps_in(2.0, config), steps_in(8.0, config)
    assert 1 < few < many
    with pytest.raises(StanleyError, match="use more seconds"):
        steps_in(1e-6, config)


def test_names_of_folders_and_settings():
    assert folder_name("STANLEY, th 1") == "stanley-th-1"
    setting = {"sampler.step_size": 0.01, "sampler.threshold": {"quantile": 0.5}}
    assert setting_name(setting) == "step_size=0.01,threshold=quantile-0.5"
    assert setting_name({}) == "as-given"


def test_edges_are_ends_of_grids_of_numbers():
    grid: dict[str, list[Any]] = {"a": [4, 1, 2], "b": [{"q": 1}, {"q": 2}], "c": [1], "d": [1, 2]}
    assert list(edges(grid, {"a": 1, "b": {"q": 1}, "c": 1, "d": 2})) == [("a", True), ("d", False)]
    assert list(edges(grid, {"a": 2})) == []
    assert next_value([0.01, 0.02, 0.04], below=False) == pytest.approx(0.08)
    assert next_value([0.01, 0.02, 0.04], below=True) == pytest.approx(0.005)
    assert next_value([0.0, 1.0], below=True) == -1.0


def test_a_comparison_is_a_value_that_files_hold():
    comparison = asked(grid={"sampler.threshold": [1.0, {"quantile": 0.5}]}, scores=["kl"])
    assert from_dict(Comparison, to_dict(comparison)) == comparison


def test_scores_are_found_by_their_place():
    found = {"kl": 0.1, "fresh": {"fd_mnist": {"value": 2.0, "n": 9}, "modes": {"covered": 3}}}
    assert number_in(found, "kl") == 0.1
    assert number_in(found, "fresh.fd_mnist") == 2.0
    assert number_in(found, "fresh.modes.covered") == 3
    for name, message in (("fresh.fd", "fd_mnist"), ("fresh.modes", "say which"), ("kk", "kl")):
        with pytest.raises(StanleyError, match=message):
            number_in(found, name)
    assert features_of(["kl", "fresh.fd_mnist", "bank.prdc_cifar.recall", "fresh.fd_mnist"]) == (
        "mnist",
        "cifar",
    )
    assert more_is_better("bank.prdc_cifar.recall")
    assert more_is_better("fresh.score_mnist")
    assert not more_is_better("fresh.fd_mnist")


def test_runs_are_called_by_what_tells_them_apart():
    rings = to_dict(recipe("rings"))
    one = rings | {"sampler": {"kind": "langevin", "step_size": 0.01}}
    other = rings | {"sampler": {"kind": "langevin", "step_size": 0.02}}
    assert named([rings, one]) == ["mala-with-jumps", "langevin"]
    assert named([one, other]) == ["step_size=0.01", "step_size=0.02"]
    assert named([rings, one, other]) == [
        "mala-with-jumps, step_size=0.09",
        "langevin, step_size=0.01",
        "langevin, step_size=0.02",
    ]
