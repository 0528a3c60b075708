"""Objectives of the user's own: a loss of a few lines, or a class that extends one of the library;
trained, resumed bit for bit, and not needed once the energy is there.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import stanley
from stanley.config import from_dict
from stanley.errors import StanleyError
from stanley.networks import MLP
from stanley.runs.directory import RunDirectory
from stanley.training.config import TrainConfig
from stanley.training.loop import train
from stanley.training.objectives import (
    Contrastive,
    FlowMatching,
    GivenObjective,
    NoiseContrastive,
    ScoreMatching,
    WarmStart,
    WithoutChains,
)
from stanley.training.objectives.contrastive import backward, negative_batch
from stanley.training.objectives.given import OwnLoss, described, ratios_of
from stanley.training.objectives.noise_contrastive import GaussianNoise, noise_contrastive_loss
from tests.conftest import changed, without_time
from tests.training.test_loop import newest, same_state


def shifted(potential: Any, x: Tensor, generator: torch.Generator, scale: float = 1.0) -> Tensor:
    """Data against data that are moved: a loss of the user's own in a function."""
    y = x + scale * torch.randn(x.shape, generator=generator)
    return nn.functional.softplus(potential(x) - potential(y)).mean()


@dataclass(frozen=True)
class Shifted:
    """The same as an object, with its argument in a field, and more for the record."""

    scale: float = 1.0

    def loss(self, potential: Any, x: Tensor, generator: torch.Generator) -> Any:
        loss = shifted(potential, x, generator, self.scale)
        return loss, {"double": 2 * loss, "one": 1}


@dataclass(frozen=True)
class Logistic(stanley.Contrastive):
    """The library's chains and bank, another loss of their energies."""

    slope: float = 1.0

    def contrast(self, energy_pos: Tensor, energy_neg: Tensor) -> Tensor:
        above = nn.functional.softplus(self.slope * energy_pos).mean()
        return above + nn.functional.softplus(-self.slope * energy_neg).mean()


@dataclass(frozen=True)
class Everything(stanley.Contrastive):
    """The library's objective once more, by a `descend` of its own that says less."""

    def descend(self, config: Any, state: Any, x_pos: Tensor) -> Any:
        negatives = negative_batch(self, config, state, x_pos)
        parts = backward(self, state, x_pos, negatives.x)
        return {"loss": parts.loss, "gap": float(parts.energy_pos.mean() - parts.energy_neg.mean())}


@pytest.fixture
def short(small: TrainConfig) -> TrainConfig:
    return replace(small, steps=12)


def extending(small: TrainConfig, kind: Any, **more: Any) -> Any:
    """An objective of the user's own with the values of the library's."""
    chains: Any = small.objective
    return kind(
        **{name: getattr(chains, name) for name in ("chain_steps", "bank_size", "adapt")}, **more
    )


OWN: dict[str, Callable[[TrainConfig], Any]] = {
    "function": lambda small: shifted,
    "filled in": lambda small: partial(shifted, scale=0.5),
    "object": lambda small: Shifted(0.5),
    "contrast": lambda small: extending(small, Logistic, slope=0.5),
    "descend": lambda small: extending(small, Everything),
}


class TestTheWholeWay:
    @pytest.mark.parametrize("kind", OWN)
    def test_resumed_equals_unbroken_and_load_needs_no_code(
        self, short: TrainConfig, tmp_path: Path, kind: str
    ) -> None:
        own = OWN[kind](short)
        unbroken = train(short, tmp_path / "unbroken", objective=own)
        for place in (2, 1, 0):  # as a kill leaves it: the newest checkpoints are not there yet
            broken = train(short, tmp_path / "run", objective=own)
            for path in sorted(broken.checkpoints.glob("*"))[place + 1 :]:
                path.unlink()
            with pytest.raises(StanleyError, match="must be handed over: objective="):
                train(short, tmp_path / "run")
            resumed = train(short, tmp_path / "run", objective=own)
            same_state(newest(unbroken), newest(resumed))
            assert without_time(unbroken.records()) == without_time(resumed.records())

        model = stanley.load(unbroken)
        assert model.sample(4, steps=3).x.shape == (4, 2)
        assert "kl" in stanley.evaluate(unbroken, num=20, steps=3)
        packed = stanley.pack(unbroken, tmp_path / "packed")
        assert stanley.load(packed).sample(2, steps=2).x.shape == (2, 2)
        card = (packed / "README.md").read_text()
        assert "Needs code" not in card
        assert described(from_dict(TrainConfig, unbroken.read_config()).objective).called in card
        assert ("chains from the bank, 3 steps each" in card) == (kind in ("contrast", "descend"))

    def test_it_may_stand_in_the_configuration(self, short: TrainConfig, tmp_path: Path) -> None:
        config = replace(short, objective=Shifted(0.5))  # type: ignore[arg-type]
        a = train(config, tmp_path / "a")
        b = train(short, tmp_path / "b", objective=Shifted(0.5))
        same_state(newest(a), newest(b))
        assert a.read_config()["objective"] == {
            "kind": "given",
            "class": "Shifted",
            "arguments": {"scale": 0.5},
            "like": None,
        }

    def test_a_configuration_that_is_read_takes_the_object_or_its_class(
        self, short: TrainConfig, tmp_path: Path
    ) -> None:
        for number, own in enumerate((Shifted(0.5), extending(short, Logistic, slope=0.5))):
            run = train(short, tmp_path / f"run{number}", objective=own)
            config = from_dict(TrainConfig, run.read_config())
            assert isinstance(config.objective, GivenObjective)
            for again in (own, *([type(own)] if number == 0 else [])):
                copy = train(
                    config, tmp_path / f"copy{number}{type(again).__name__}", objective=again
                )
                same_state(newest(run), newest(copy))
            other: Any = Shifted(2.0) if number == 0 else extending(short, Logistic, slope=2.0)
            with pytest.raises(StanleyError, match=r"is not the one that was used \(arguments\."):
                train(config, tmp_path / "other", objective=other)

    def test_other_arguments_are_another_run(self, short: TrainConfig, tmp_path: Path) -> None:
        train(short, tmp_path / "run", objective=Shifted(0.5))
        with pytest.raises(StanleyError, match=r"objective.arguments.scale: 0.5 → 0.6"):
            train(short, tmp_path / "run", objective=Shifted(0.6))
        with pytest.raises(StanleyError, match=r"objective.class: 'Shifted' → 'shifted'"):
            train(short, tmp_path / "run", objective=shifted)
        own = extending(short, Logistic)
        train(short, tmp_path / "chains", objective=own)
        with pytest.raises(StanleyError, match=r"objective.like.chain_steps: 3 → 4"):
            train(short, tmp_path / "chains", objective=replace(own, chain_steps=4))
        with pytest.warns(UserWarning, match="objective.like.gap_limit"):  # which may change
            train(short, tmp_path / "chains", objective=replace(own, gap_limit=77.0))

    def test_an_own_network_and_an_own_loss(self, short: TrainConfig, tmp_path: Path) -> None:
        net = nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Linear(8, 1), nn.Flatten(0))
        data = torch.randn(100, 2)
        run = train(short, tmp_path / "run", energy=net, data=data, objective=shifted)
        assert stanley.load(run, energy=net).event_shape == (2,)

    def test_steps_and_open_run_take_it(self, short: TrainConfig, tmp_path: Path) -> None:
        records = list(stanley.steps(short, tmp_path / "run", objective=Shifted()))
        assert [r["double"] for r in records] == pytest.approx([2 * r["loss"] for r in records])
        assert all(r["one"] == 1 and "gap" not in r for r in records)
        with stanley.open_run(short, tmp_path / "run", objective=Shifted()) as opened:
            assert isinstance(opened.config.objective, OwnLoss)


class TestItIsTheSameAsTheLibrarys:
    """Where an own objective computes what one of the library computes, so does the run."""

    def test_noise_contrastive_in_six_lines(self, short: TrainConfig, tmp_path: Path) -> None:
        config = replace(short, objective=NoiseContrastive())
        with stanley.open_run(config, tmp_path / "noise") as opened:
            noise = GaussianNoise.around(opened.state.noise, NoiseContrastive().noise_width)

        def mine(potential: Any, x: Tensor, generator: torch.Generator) -> Tensor:
            return noise_contrastive_loss(potential, noise, x, noise.draw(x, generator))

        library = train(config, tmp_path / "library")
        own = train(short, tmp_path / "own", objective=mine)
        assert without_time(library.records()) == without_time(own.records())
        same_state(newest(library), newest(own))

    @pytest.mark.parametrize("kind", ["Contrastive", "Everything"])
    def test_chains(self, short: TrainConfig, tmp_path: Path, kind: str) -> None:
        @dataclass(frozen=True)
        class Same(Contrastive):
            pass

        config = changed(short, energy_l2=0.0, restart=0.0)
        own = extending(config, Same if kind == "Contrastive" else Everything)
        library = train(config, tmp_path / "library")
        run = train(config, tmp_path / "own", objective=own)
        if kind == "Everything":  # whose record lacks the acceptance that steers the step size
            first, other = library.records()[0], run.records()[0]
            assert {n: other[n] for n in ("loss", "gap", "grad_norm")} == pytest.approx(
                {n: first[n] for n in ("loss", "gap", "grad_norm")}
            )
        else:
            assert without_time(library.records()) == without_time(run.records())

    def test_temperature_is_in_the_potential(self, short: TrainConfig, tmp_path: Path) -> None:
        def mine(potential: Any, x: Tensor, generator: torch.Generator) -> Tensor:
            u, energy = potential(x).detach(), potential.energy(x).detach()
            assert bool(((3.0 * u - energy).abs() <= 2**-22 * energy.abs()).all())  # two roundings
            return potential(x).mean()

        train(replace(short, temperature=3.0, steps=2), tmp_path / "run", objective=mine)


class Weights(nn.Module):
    def forward(self, potential: Any, x: Tensor, generator: Any) -> Tensor:
        return potential(x).mean()


class Nothing:
    pass


def raising(potential: Any, x: Tensor, generator: torch.Generator) -> Tensor:
    raise ValueError("of\nmine")


def of_other(change: Callable[[Tensor, Tensor], Any]) -> Any:
    def mine(potential: Any, x: Tensor, generator: torch.Generator) -> Any:
        return change(potential(x), x)

    return mine


BAD: dict[str, tuple[Any, str]] = {
    "a class": (Shifted, r"is the class Shifted, but must be an object of it; call it, Shifted\("),
    "a module": (Weights(), "whose weights no optimiser would see"),
    "no loss": (Nothing(), "objective is a Nothing, but must be a function loss"),
    "a number": (3, "objective is a int, but must be a function loss"),
    "a vector": (
        of_other(lambda u, x: u),
        r"torch.float32 of shape \(32|torch.float32 of shape \(8,\)",
    ),
    "a float": (
        of_other(lambda u, x: float(u.detach().mean())),
        "returned a float, but its loss must be one",
    ),
    "detached": (of_other(lambda u, x: u.mean().detach()), "loss without gradient"),
    "of the data alone": (
        of_other(lambda u, x: x.clone().requires_grad_().mean()),
        "reaches no weight of the network",
    ),
    "not finite": (of_other(lambda u, x: u.mean() * math.inf), "must be finite"),
    "other random numbers": (
        of_other(lambda u, x: (u * torch.randn(len(u))).mean()),
        "random numbers that are not its generator's.*pass generator=generator",
    ),
    "raises": (raising, "objective raising failed on data of shape .* ValueError"),
    "other parameters": (lambda u: u, "failed on data.*TypeError"),
    "a name that is taken": (of_other(lambda u, x: (u.mean(), {"step": 1})), "'step', a name that"),
    "words": (of_other(lambda u, x: (u.mean(), {"note": "x"})), "a str as 'note'"),
    "no names": (of_other(lambda u, x: (u.mean(), [1])), "returned a list for its record"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_objectives_are_refused_before_the_first_step(
    short: TrainConfig, tmp_path: Path, kind: str
) -> None:
    own, message = BAD[kind]
    with pytest.raises(StanleyError, match=message) as error:
        train(short, tmp_path / "run", objective=own)
    assert "\n" not in str(error.value)
    run = RunDirectory(tmp_path / "run")
    assert not run.records()
    assert not run.has_begun()


def test_what_cannot_work_together_is_told(short: TrainConfig, tmp_path: Path) -> None:
    levels = replace(stanley.recipe("array"), data=short.data)
    with pytest.raises(StanleyError, match=r"knows noise levels, but objective 'shifted' reaches"):
        train(levels, tmp_path / "run", objective=shifted)

    class Twice:
        differentiates_twice = True

        def loss(self, potential: Any, x: Tensor, generator: torch.Generator) -> Tensor:
            x = x.requires_grad_()
            (grad,) = torch.autograd.grad(potential(x).sum(), x, create_graph=True)
            return grad.square().mean()

    kinked = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1), nn.Flatten(0))
    with pytest.raises(StanleyError, match=r"Twice' differentiates twice; use a smooth one"):
        train(short, tmp_path / "run", energy=kinked, objective=Twice())

    class Plain(Contrastive):
        """Without fields of its own it needs no decorator."""

    assert described(Plain()).like == Contrastive()
    with pytest.raises(StanleyError, match=r"objective.bank_size is 4, but must be at least batch"):
        train(short, tmp_path / "run", objective=Everything(bank_size=4))


def test_a_record_keeps_what_a_model_needs_to_know(short: TrainConfig) -> None:
    """Of every objective that can be extended: where its chains and its noise levels are."""
    for base in (Contrastive(), WarmStart(), ScoreMatching(), FlowMatching()):

        @dataclass(frozen=True)
        class Mine(type(base)):  # type: ignore[misc]
            more: int = 3

        record = described(Mine())
        assert record.arguments == {"more": 3}
        assert record.like == base
        assert (record.contrastive is None) == (base.contrastive is None)
        assert record.denoising == base.denoising
        assert record.differentiates_twice == base.differentiates_twice


def test_arguments_are_the_same_in_every_process() -> None:
    """An address would make each process another run."""

    class Attributes:
        def __init__(self) -> None:
            self.function, self.thing, self.tensor = shifted, Nothing(), torch.ones(2)

        def loss(self, potential: Any, x: Tensor, generator: torch.Generator) -> Tensor:
            return potential(x).mean()

    written = described(OwnLoss(Attributes())).arguments
    assert written == {"function": "shifted", "thing": "Nothing", "tensor": [1.0, 1.0]}


def test_pairs_are_ratios_of_sums() -> None:
    ratios = ratios_of("mine", {"a": (torch.tensor(3.0), 4), "b": 2}, torch.zeros(()))
    assert {n: (float(a), float(b)) for n, (a, b) in ratios.items()} == {"a": (3, 4), "b": (2, 1)}


def test_a_network_that_extends_one_of_the_library_is_not_taken_for_it(
    short: TrainConfig, tmp_path: Path
) -> None:
    """As objectives are: its class was written as `mlp`, and another energy was loaded."""

    @dataclass(frozen=True)
    class Wider(MLP):
        def build(self, event_shape: tuple[int, ...]) -> nn.Module:
            return MLP(width=2 * self.width).build(event_shape)

    run = train(replace(short, network=Wider(width=4)), tmp_path / "run")
    assert run.read_config()["network"]["class"].endswith("Wider")
    with pytest.raises(StanleyError, match=r"Wider .* must be handed over"):
        stanley.load(run)
    assert stanley.load(run, energy=Wider(width=4)).event_shape == (2,)


def test_without_chains_can_be_extended(short: TrainConfig, tmp_path: Path) -> None:
    """Negative control: what is no dataclass of the library, and no loss, is refused."""

    class Bare(WithoutChains):
        def descend(self, config: Any, state: Any, x_pos: Tensor) -> Any:
            return {}

    with pytest.raises(StanleyError, match=re.escape("a method loss like it")):
        train(short, tmp_path / "run", objective=Bare())


def test_negative_control_the_librarys_own_say_nothing_of_it(
    short: TrainConfig, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = train(short, tmp_path / "run")
        train(short, tmp_path / "run")
    assert run.read_config()["objective"]["kind"] == "contrastive"
