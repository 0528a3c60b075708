"""Vectors that training standardised: the model speaks in the units of the data.

With x = μ + s·y, a run on x and one on y see the same numbers, so the one is the other carried
over: x for y, and -log p(x) = -log p(y) + Σ log s. Here s are powers of two and y, μ whole
multiples of 2⁻¹⁰, so that x is exact in float64. What is left are roundings of mean and standard
deviation in float64, 10⁻¹⁶ of what is then rounded to float32: chains of both runs part by more
than float32's last digits only where such a rounding turns a Metropolis test, which has a
probability below 10⁻⁶.
"""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from stanley.config import to_dict
from stanley.data import Array, Rings
from stanley.data.base import Dataset, standardised
from stanley.data.standardisation import Standardisation
from stanley.errors import DivergenceError, StanleyError
from stanley.judging.diagnose import Effort, diagnose, in_units_of_data
from stanley.judging.evaluate import evaluate, exact_kl, judge_plane
from stanley.judging.likelihood import held_out_likelihood
from stanley.metrics import log_z
from stanley.models.export import export_energy
from stanley.models.packing import pack
from stanley.models.trained import (
    Trained,
    data_of,
    load,
    potential_on,
    sampler_on,
    starts_of_sum,
)
from stanley.models.units import OfStandardised
from stanley.networks import MLP, LevelMLP
from stanley.plots.run import plot_run
from stanley.runs import checkpoint
from stanley.runs.directory import RunDirectory
from stanley.samplers import MALA, RobbinsMonro, run_chains
from stanley.samplers import evaluate as evaluate_u
from stanley.streams import stream
from stanley.training.config import TrainConfig
from stanley.training.loop import train
from stanley.training.objectives import Contrastive, Denoising, WarmStart
from tests import seeds
from tests.conftest import without_time

SHORT = Contrastive(chain_steps=3, bank_size=64, restart=0.1, adapt=RobbinsMonro())
CONFIG = TrainConfig(
    data=Rings(),
    network=MLP(width=16),
    sampler=MALA(step_size=0.09),
    objective=SHORT,
    steps=20,
    batch=32,
    reference_std=2.0,
    temperature=0.5,
    warmup=5,
    ema=0.9,
    save_every=10,
)
LEVELS = replace(
    CONFIG,
    network=LevelMLP(width=16),
    objective=WarmStart(share=0.5, denoising=Denoising(), contrastive=SHORT),
    reference_std=None,
    temperature=1.0,
)
SCALE = torch.tensor([2.0**-9, 2.0**11], dtype=torch.float64)
MEAN = torch.tensor([50.0, -20.0], dtype=torch.float64)
LOG_SCALE = math.log(2.0) * 2


class Pair(NamedTuple):
    """A run on y and one on x = μ + s·y, in a folder each."""

    own: RunDirectory
    moved: RunDirectory

    def models(self) -> tuple[Trained, Trained]:
        return load(self.own, device="cpu"), load(self.moved, device="cpu")


def carried(y: Tensor) -> Tensor:
    return MEAN + SCALE * y.double()


def pair_of(folder: Path, config: TrainConfig, *, standardise: bool = True) -> Pair:
    y = torch.randn(400, 2, dtype=torch.float64, generator=seeds.fresh())
    y[:, 1] += 0.8 * y[:, 0].square()
    y = (y * 1024).round() / 1024
    runs = []
    for name, x in (("own", y), ("moved", carried(y))):
        np.save(folder / f"{name}.npy", x.numpy())
        data = Array(path=str(folder / f"{name}.npy"), standardise=standardise)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of scales, where nothing is standardised
            runs.append(train(replace(config, data=data), folder / name, device="cpu"))
    return Pair(*runs)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    seeds.begin(seeds.fresh_seed(), "pairs")
    made = {}
    for name, config in (("chains", CONFIG), ("levels", LEVELS)):
        folder = tmp_path_factory.mktemp(name)
        made[name] = pair_of(folder, config)
    return made


@pytest.fixture(params=["chains", "levels"])
def pair(request: pytest.FixtureRequest, pairs: dict[str, Pair]) -> Pair:
    return pairs[request.param]


def near(x: Tensor, y: Tensor, atol: float = 1e-3) -> bool:
    """Whether x = μ + s·y up to `atol` of s."""
    return bool((((x - carried(y)) / SCALE).abs() < atol).all())


def test_a_run_on_moved_data_is_the_same_run(pair: Pair) -> None:
    """Records, chains from noise and from the bank, draws."""
    for ours, theirs in zip(*(without_time(run.records()) for run in pair), strict=True):
        known = {name: value for name, value in theirs.items() if value is not None}
        assert {n: v for n, v in ours.items() if v is not None} == pytest.approx(
            known, rel=1e-3, abs=1e-4
        )
    own, moved = pair.models()
    for start in ("noise", "bank"):
        y, x = (m.sample(32, steps=20, start=start, seed=3, keep_every=5) for m in (own, moved))
        assert x.x.dtype == torch.float64
        assert near(x.x, y.x)
        assert near(x.draws, y.draws)
        assert near(x.before, y.before)
        shift = x.info.potential - y.info.potential
        assert shift == pytest.approx(LOG_SCALE, abs=1e-3)
    assert near(moved.bank, own.bank)
    assert near(moved.noise.mean, own.noise.mean)


def test_it_says_what_it_is(pair: Pair) -> None:
    for model in pair.models():
        assert model.told()["sampled by"] == model.config.sampler.kind
        assert repr(model).startswith("Trained")


def test_negative_control_without_standardising_it_is_another(tmp_path: Path) -> None:
    """On y it trains, on x it ends at the first step, 50 widths of the reference away from 0."""
    with pytest.raises(DivergenceError, match="diverged at step 1"):
        pair_of(tmp_path, CONFIG, standardise=False)
    own = load(tmp_path / "own", device="cpu")
    assert own.standardised is own
    assert own.sample(4, steps=2).x.dtype == torch.float32


def test_densities_get_the_change_of_variables(pair: Pair) -> None:
    """U_x(μ + s·y) = U_y(y) + Σ log s and ∇U_x = ∇U_y/s, for float64 and float32 points."""
    own, moved = pair.models()
    y = own.original(own.standardised.bank[:16])
    before, after = evaluate_u(own.potential, y), evaluate_u(moved.potential, carried(y))
    assert after.potential - before.potential == pytest.approx(LOG_SCALE, abs=1e-3)
    scale = float(before.grad.abs().max())
    assert torch.allclose(after.grad * SCALE, before.grad, atol=1e-3 * scale)
    assert moved.log_scale - own.log_scale == pytest.approx(LOG_SCALE)
    rounded = moved.potential(carried(y).float())
    assert rounded.dtype == torch.float32
    # 50 is known to 2⁻¹⁹ and s = 2⁻⁹: z to 2⁻¹⁰
    assert torch.allclose(rounded.double(), after.potential, atol=2**-9 * scale)


def test_the_density_of_the_data_has_mass_one(pairs: dict[str, Pair]) -> None:
    """log ∫ exp(-U_x) dx by quadrature over x itself is log ∫ exp(-U_z) dz; without the log scale
    it is not, which is the negative control."""
    own, _ = pairs["chains"].models()  # x near 0, standard deviations near 1
    in_x = log_z(own.potential, 8.0).value
    in_z = log_z(own.standardised.potential, 8.0).value
    assert in_x == pytest.approx(in_z, abs=1e-5)
    assert abs(own.log_scale) > 1e-3
    bare = OfStandardised(own.standardised.potential, inverse(own.standardisation))
    assert log_z(bare, 8.0).value - in_z == pytest.approx(own.log_scale, abs=1e-3)


def inverse(found: Standardisation) -> Standardisation:
    """That which undoes it: x = mean + std·z, so z = -mean/std + x/std."""
    return Standardisation(-found.mean / found.std, 1 / found.std)


def test_scores_are_in_the_units_of_the_data(pair: Pair) -> None:
    own, moved = (evaluate(run, num=32, steps=10, device="cpu") for run in pair)
    temperature = own["temperature"]
    assert moved["log_z"] == pytest.approx(own["log_z"], abs=1e-3)
    nlls = [scores["nll_held_out"]["value"] for scores in (moved, own)]
    assert nlls[0] - nlls[1] == pytest.approx(LOG_SCALE, abs=1e-3)
    for name in ("data", "held_out", "fresh", "bank"):
        difference = moved["energy"][name]["mean"] - own["energy"][name]["mean"]
        assert difference == pytest.approx(temperature * LOG_SCALE, abs=2e-3)
    assert moved["fresh"]["mmd2"]["value"] == pytest.approx(own["fresh"]["mmd2"]["value"], abs=1e-4)
    shift = moved["standardised"]["log_scale"] - own["standardised"]["log_scale"]
    assert shift == pytest.approx(LOG_SCALE)
    kept = [np.load(run.samples / "evaluated.npz") for run in pair]
    for name in ("samples_fresh", "data", "draws"):
        y, x = (torch.from_numpy(arrays[name]) for arrays in kept)
        assert near(x, y)
    cell = [
        np.prod([(a["box"][1] - a["box"][0]), (a["box"][3] - a["box"][2])])
        / a["model_density"].size
        for a in kept
    ]
    masses = [a["model_density"].sum() * one for a, one in zip(kept, cell, strict=True)]
    assert masses == pytest.approx([1, 1], abs=1e-6)
    assert len(plot_run(pair.moved)) == 6


def test_bounds_of_held_out_data_move_by_the_log_scale(pair: Pair) -> None:
    own, moved = (
        held_out_likelihood(run, chains=8, levels=10, model_steps=5, device="cpu") for run in pair
    )
    for end in ("lower", "upper"):
        assert moved["log_z"][end] == pytest.approx(own["log_z"][end], abs=1e-2)
        difference = moved["held_out"][end] - own["held_out"][end]
        assert difference == pytest.approx(LOG_SCALE, abs=1e-2)


def test_the_exact_kl_is_that_of_the_data(pairs: dict[str, Pair]) -> None:
    """Of a density that goes along with its data: KL and TV in z are those in x; the entropy and
    the NLL are told in x."""
    plain = Rings(num=500).load()
    doubled = Dataset(
        carried_out(plain.train), carried_out(plain.test), log_density=log_density_of_doubled
    )
    on_z = standardised(doubled, "rings")
    model = pairs["chains"].models()[0]
    in_z = replace(model.standardised, standardisation=on_z.standardisation)
    found = judge_plane(in_z, on_z, on_z.test)
    in_x = replace(in_z, on_z=in_z)
    direct = judge_plane(of_data_units(in_x), doubled, doubled.test)
    assert found["kl"] == pytest.approx(direct["kl"], abs=1e-4)
    assert found["tv"] == pytest.approx(direct["tv"], abs=1e-3)
    entropies = [f["quadrature"]["entropy_data"] for f in (found, direct)]
    assert entropies[0] == pytest.approx(entropies[1], abs=1e-4)
    assert found["nll_held_out"]["value"] == pytest.approx(
        direct["nll_held_out"]["value"], abs=1e-3
    )
    assert exact_kl(pairs["chains"].own) is None  # these data have no known density


def carried_out(x: Tensor) -> Tensor:
    return 2 * x + torch.tensor([0.5, -0.25])


def log_density_of_doubled(x: Tensor) -> Tensor:
    law = Rings(num=500).load().log_density
    assert law is not None
    return law((x - torch.tensor([0.5, -0.25]).to(x)) / 2) - 2 * math.log(2)


def of_data_units(in_z: Trained) -> Trained:
    """A model whose points are the data's own, for a quadrature in x itself."""
    from stanley.models.trained import of_data

    return replace(of_data(replace(in_z, on_z=None)), standardisation=None)


def test_chains_of_ones_own_are_those_of_training(pairs: dict[str, Pair]) -> None:
    """With sampler, potential and starts of the model a user's chains take the steps of training:
    in both units the acceptance is the same, up to its Monte Carlo error."""
    own, moved = pairs["chains"].models()
    x0 = moved.starts(500, "bank" if len(moved.bank) >= 500 else "noise", seeds.fresh())
    y0 = (x0 - MEAN) / SCALE
    same = seeds.fresh_seed()
    chains = [
        run_chains(m.sampler, m.potential, start, 20, generator=stream(same, "chains"))
        for m, start in ((own, y0), (moved, x0))
    ]
    assert near(chains[1].x, chains[0].x)
    assert 0.05 < float(chains[0].info.acceptance.mean()) < 1
    other = replace(moved, sampler=MALA(1e-12))  # in the units of the data it hardly moves
    stuck = other.sample(16, steps=3, seed=1)
    starts = other.starts(16, "noise", other.stream(1, "noise"))
    assert (stuck.x - starts).abs().max() < 1e-4
    assert moved.standardise(moved.starts(8, "noise", stream(same, "a"))) == pytest.approx(
        moved.standardised.starts(8, "noise", stream(same, "a")), abs=1e-5
    )


def test_a_packed_and_an_exported_model(pair: Pair, tmp_path: Path) -> None:
    _, moved = pair.models()
    packed = load(pack(pair.moved, tmp_path / "packed"), device="cpu")
    assert packed.standardisation.equals(moved.standardisation)
    x = moved.bank[:16]
    assert torch.allclose(packed.potential(x), moved.potential(x), rtol=1e-2, atol=1e-2)
    assert "standardised" in (tmp_path / "packed" / "README.md").read_text()
    made = export_energy(moved, tmp_path / "e.pt2")
    graph = torch.export.load(made.path).module()
    assert torch.allclose(graph(x.float()), moved.energy(x.float()), rtol=1e-4, atol=1e-4)
    with pytest.raises(AssertionError):  # negative control: E of z is another number
        assert torch.allclose(
            graph(x.float()), moved.standardised.energy(moved.standardise(x)), atol=0.1
        )


def test_resumed_is_unbroken(tmp_path: Path) -> None:
    y = torch.randn(200, 3, generator=seeds.fresh()).numpy()
    np.save(tmp_path / "x.npy", 1000 * y + 3)
    config = replace(CONFIG, data=Array(path=str(tmp_path / "x.npy")))
    whole = train(replace(config, decay=0.0), tmp_path / "whole", device="cpu")
    half = replace(config, decay=0.0, steps=10)
    train(half, tmp_path / "half", device="cpu")
    with pytest.warns(UserWarning, match="steps: 10 → 20"):
        again = train(replace(half, steps=20), tmp_path / "half", device="cpu")
    assert without_time(again.records()) == without_time(whole.records())
    ours, theirs = (load(run, device="cpu") for run in (again, whole))
    assert torch.equal(ours.sample(8, steps=5).x, theirs.sample(8, steps=5).x)


def test_data_that_changed_are_standardised_as_when_the_run_began(tmp_path: Path) -> None:
    y = torch.randn(200, 2, generator=seeds.fresh()).numpy()
    path = tmp_path / "x.npy"
    np.save(path, y)
    config = replace(CONFIG, data=Array(path=str(path)), steps=10)
    run = train(config, tmp_path / "run", device="cpu")
    before = load(run, device="cpu")
    np.save(path, 3 * y + 7)
    assert data_of(before).standardisation.equals(before.standardisation)
    assert float(data_of(before).train.mean()) == pytest.approx(7, abs=1.5)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        train(replace(config, steps=20), run.path, device="cpu")
    assert any("other means and standard deviations" in str(w.message) for w in told)
    assert load(run, device="cpu").standardisation.equals(before.standardisation)


def test_a_run_of_before_is_what_it_was(tmp_path: Path) -> None:
    """Configurations without the fields, and checkpoints without the numbers: not standardised."""
    np.save(tmp_path / "x.npy", torch.randn(200, 2, generator=seeds.fresh()).numpy())
    data = Array(path=str(tmp_path / "x.npy"), standardise=False)
    config = replace(CONFIG, data=data, steps=10)
    run = train(config, tmp_path / "run", device="cpu")
    wanted = load(run, device="cpu").sample(8, steps=5).x

    def of_before(values: dict) -> dict:
        young = ("standardise", "columns", "header")
        return values | {"data": {k: v for k, v in values["data"].items() if k not in young}}

    run.config_file.write_text(json.dumps(of_before(json.loads(run.config_file.read_text()))))
    for path in checkpoint.saved(run.checkpoints):
        saved = checkpoint.load(path)
        meta = saved.meta | {"config": of_before(saved.meta["config"])}
        checkpoint.save(checkpoint.Checkpoint(saved.tensors, meta), run.checkpoints, keep=9)
    model = load(run, device="cpu")
    assert (model.standardisation, model.config.data) == (None, data)
    assert torch.equal(model.sample(8, steps=5).x, wanted)
    assert evaluate(run, num=8, steps=2, device="cpu")["nll_held_out"]
    packed = load(pack(run, tmp_path / "packed"), device="cpu")
    assert packed.config.data.standardise is False
    train(config, run.path, device="cpu")  # nothing changed, and nothing is left to do
    with pytest.raises(StanleyError, match=r"data\.standardise: False → True"):
        train(replace(config, data=replace(data, standardise=True)), run.path, device="cpu")
    assert to_dict(config)["data"]["standardise"] is False


def test_sums_of_models_of_other_units(pairs: dict[str, Pair]) -> None:
    """On the points of the first: its own potential, and that of the other at the same x."""
    own, moved = pairs["levels"].models()
    z = own.standardised.bank[:16]
    assert potential_on(own, own) == own.standardised.potential
    there = potential_on(moved, own)(z)
    assert torch.allclose(there, moved.potential(own.original(z)).float(), rtol=1e-5)
    ratio = float((moved.standardisation.std / own.standardisation.std).min()) ** 2
    steps = [float(sampler_on(m, own).step_size) for m in (own, moved)]
    assert steps[0] == own.standardised.sampler.step_size
    assert steps[1] == pytest.approx(float(moved.standardised.sampler.step_size) * ratio)
    inner = [own.standardised, moved.standardised]
    same = seeds.fresh_seed()
    starts = [
        starts_of_sum(models, [1.0] * len(models), 8, stream(same, "starts"))
        for models in (inner, inner[:1])
    ]
    assert torch.equal(starts[0], own.standardised.starts(8, "noise", stream(same, "starts")))
    assert starts[0].shape == starts[1].shape


def test_a_diagnosis_in_the_units_of_the_data(pairs: dict[str, Pair]) -> None:
    on_z = pairs["chains"].models()[1].standardised
    found = diagnose(
        on_z.sampler,
        on_z.potential,
        lambda n, g: on_z.starts(n, "noise", g),
        on_z.bank[:8],
        generator=seeds.fresh(),
        effort=Effort(chains=8, steps=20, pairs=0, rays=0, copies=0),
    )
    told = in_units_of_data(found, on_z.standardisation)
    x = on_z.original(found.draws)
    assert torch.allclose(told.draws, x)
    assert torch.allclose(told.summary.mean, x.mean((0, 1)), rtol=1e-9)
    assert torch.allclose(told.summary.sd / found.summary.sd, on_z.standardisation.std)
    assert torch.equal(told.summary.rhat, found.summary.rhat)
    assert float(told.summary_u.mean - found.summary_u.mean) == pytest.approx(on_z.log_scale)


@pytest.mark.parametrize("std", [0.0, -1.0, math.nan, math.inf])
def test_a_damaged_standardisation_is_refused(
    pairs: dict[str, Pair], tmp_path: Path, std: float
) -> None:
    saved = checkpoint.newest(pairs["chains"].own.checkpoints)
    bad = saved.tensors["standardisation.std"].clone()
    bad[1] = std
    broken = checkpoint.Checkpoint(saved.tensors | {"standardisation.std": bad}, saved.meta)
    path = checkpoint.save(broken, tmp_path, keep=1)
    with pytest.raises(StanleyError, match=r"'standardisation' is not a finite mean"):
        checkpoint.load(path)
    named = checkpoint.Checkpoint(saved.tensors, saved.meta | {"columns": ["a", "b", "c"]})
    with pytest.raises(StanleyError, match="names 3 columns"):
        checkpoint.load(checkpoint.save(named, tmp_path, keep=1))


def test_data_that_are_handed_over_are_standardised_as_the_model_was(tmp_path: Path) -> None:
    """The points of the file, handed over in their own units, are the z that training saw: to the
    rounding of x near 40 to float32, 2⁻¹⁹, over the smaller deviation, 0.1."""
    rows = torch.randn(200, 2, generator=seeds.fresh())
    np.save(tmp_path / "x.npy", (rows * torch.tensor([3.0, 0.1]) + 40).numpy())
    data = Array(path=str(tmp_path / "x.npy"))
    run = train(replace(CONFIG, data=data, steps=2), tmp_path / "run", device="cpu")
    known = data_of(load(run, device="cpu"))
    assert known.standardisation is not None
    own = [known.standardisation.undo(part).float() for part in (known.train, known.test)]
    again = data_of(load(run, device="cpu", data=Dataset(own[0], own[1])))
    torch.testing.assert_close(again.test, known.test, rtol=0, atol=1e-4)
    torch.testing.assert_close(again.train, known.train, rtol=0, atol=1e-4)
