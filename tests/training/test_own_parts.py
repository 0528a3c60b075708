"""A network, data and a sampler of the user's own: trained, resumed bit for bit, loaded and judged,
or refused in one line before the first step.
"""

from __future__ import annotations

import copy
import gc
import inspect
import os
import re
import runpy
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torch.utils.data import Dataset as TorchDataset

import stanley
from stanley.data.given import dataset_of
from stanley.errors import DivergenceError, StanleyError
from stanley.models.packing import serialised
from stanley.models.trained import data_of
from stanley.networks import MLP
from stanley.networks.given import ROUNDINGS, kept_values, require_same_values, rounding
from stanley.networks.levels import LevelEnergy, Levels
from stanley.plots.run import plot_run
from stanley.runs.directory import RunDirectory
from stanley.samplers import Adjusted, StepInfo, evaluate
from stanley.training.config import TrainConfig
from stanley.training.loop import steps, train
from stanley.training.opening import open_run
from stanley.uses import inpaint
from tests.conftest import changed, without_time
from tests.seeds import fresh
from tests.training.test_loop import lines, newest, same_state, wait_for


class Net(nn.Module):
    """An energy that the library does not know."""

    def __init__(self, width: int = 8, d: int = 2) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(d, width), nn.SiLU(), nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return self.layers(x).squeeze(-1) + x.square().sum(1) / 4


@dataclass(frozen=True)
class Coordinate:
    """Langevin on one coordinate, drawn for all chains; without `kind`."""

    step_size: float
    first: bool = False

    def init(self, potential: Any, x: Tensor) -> Any:
        return evaluate(potential, x)

    def step(self, potential: Any, state: Any, generator: torch.Generator) -> Any:
        candidate, _, info = self.propose(potential, state, generator)
        return candidate, info

    def propose(self, potential: Any, state: Any, generator: torch.Generator) -> Any:
        d = state.x.shape[1]
        i = torch.randint(1 if self.first else d, (1,), generator=generator)
        e = nn.functional.one_hot(i, d).to(state.x)
        xi = torch.randn(state.x.shape, generator=generator)
        x = state.x + e * (self.step_size**0.5 * xi - self.step_size / 2 * state.grad)
        return evaluate(potential, x), e, StepInfo()

    def log_ratio(self, potential: Any, state: Any, candidate: Any, e: Tensor) -> Tensor:
        there = e * (candidate.x - state.x + self.step_size / 2 * state.grad)
        back = e * (state.x - candidate.x + self.step_size / 2 * candidate.grad)
        return ((there**2).sum(1) - (back**2).sum(1)).double() / (2 * self.step_size)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(400, 2) * torch.tensor([1.0, 2.0])


@pytest.fixture
def short(small: TrainConfig) -> TrainConfig:
    return replace(small, steps=12)


class TestTheWholeWay:
    def test_train_load_sample_evaluate_plot_pack(
        self, short: TrainConfig, x: Tensor, tmp_path: Path
    ) -> None:
        net = Net()
        run = train(short, tmp_path / "run", energy=net, data=x)
        written = run.read_config()
        assert written["network"]["kind"] == written["data"]["kind"] == "given"
        assert written["network"]["class"] == "Net"
        assert written["network"]["parameters"] == sum(p.numel() for p in net.parameters())
        assert set(written["network"]) > {"fingerprint"}

        model = stanley.load(run, energy=Net())
        points = model.standardise(x[:5])
        saved = newest(run).part("average")
        trained = Net()
        trained.load_state_dict(saved)
        assert torch.equal(model.standardised.energy(points), trained(points).detach())
        assert model.sample(4, steps=3).x.shape == (4, 2)
        scores = stanley.evaluate(run, energy=Net(), data=x, num=50, steps=5)
        assert scores["energy"]["held_out"]["n"] == 40
        assert all(path.exists() for path in plot_run(run))
        packed = stanley.pack(run, tmp_path / "packed", energy=Net())
        card = (packed / "README.md").read_text()
        assert "Needs code that is not here" in card
        assert "Net" in card
        assert stanley.load(packed, energy=Net()).event_shape == (2,)
        with pytest.raises(
            StanleyError, match=r"packed: network Net .*must be handed over: energy=Net"
        ):
            stanley.load(packed)

    def test_first_weights_are_the_modules_own_and_it_is_left_as_it_is(
        self, short: TrainConfig, x: Tensor, tmp_path: Path
    ) -> None:
        net = Net()
        before = {name: t.clone() for name, t in net.state_dict().items()}
        with open_run(short, tmp_path / "run", energy=net, data=x) as opened:
            for name, t in opened.state.energy.state_dict().items():
                assert torch.equal(t, before[name])
        train(short, tmp_path / "run", energy=net, data=x)
        assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
        assert net.training

    def test_parameters_that_are_frozen_stay_as_they_are(
        self, short: TrainConfig, x: Tensor, tmp_path: Path
    ) -> None:
        net = Net()
        net.layers[0].requires_grad_(False)
        run = train(short, tmp_path / "run", energy=net, data=x)
        after = newest(run).part("energy")
        assert torch.equal(after["layers.0.weight"], net.state_dict()["layers.0.weight"])
        assert not torch.equal(after["layers.2.weight"], net.state_dict()["layers.2.weight"])

    def test_weights_that_are_used_twice_are_saved(
        self, short: TrainConfig, x: Tensor, tmp_path: Path
    ) -> None:
        class Tied(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.one = nn.Linear(2, 2)
                self.two = nn.Linear(2, 2)
                self.two.weight = self.one.weight

            def forward(self, x: Tensor) -> Tensor:
                return (x - self.two(torch.tanh(self.one(x)))).square().sum(1)

        run = train(short, tmp_path / "run", energy=Tied(), data=x)
        model = stanley.load(run, energy=Tied())
        packed = stanley.load(stanley.pack(run, tmp_path / "packed", energy=Tied()), energy=Tied())
        assert torch.allclose(packed.energy(x[:3]), model.energy(x[:3]), rtol=1e-2, atol=1e-2)
        large = serialised(  # in float32 the tensors are the module's own
            {f"average.{name}": t for name, t in Tied().state_dict().items()}, {}
        )
        (tmp_path / "large.safetensors").write_bytes(large)
        with safe_open(tmp_path / "large.safetensors", framework="pt") as file:
            weights = [file.get_tensor(f"average.{name}.weight") for name in ("one", "two")]
        assert torch.equal(*weights)

    def test_a_spec_with_kind_and_build_in_the_configuration(
        self, short: TrainConfig, tmp_path: Path
    ) -> None:
        @dataclass(frozen=True)
        class Mine:
            width: int = 4
            kind: str = "mine"

            def build(self, event_shape: tuple[int, ...]) -> nn.Module:
                return Net(self.width, event_shape[0])

        config = replace(short, network=Mine())  # type: ignore[arg-type]
        run = train(config, tmp_path / "run")
        assert run.read_config()["network"]["class"].endswith("Mine")
        same_state(newest(run), newest(train(config, tmp_path / "again")))  # drawn from the seed
        train(config, tmp_path / "run")
        assert "kl" in stanley.evaluate(run, energy=Mine(), num=20, steps=3)

    def test_an_energy_that_knows_noise_levels(
        self, small: TrainConfig, x: Tensor, tmp_path: Path
    ) -> None:
        class Inner(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layers = nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 1))

            def forward(self, u: Tensor, log_ratio: Tensor) -> Tensor:
                return self.layers(torch.cat([u, log_ratio[:, None]], 1))[:, 0]

        energy = LevelEnergy(Inner(), (2,), Levels(0.1, 4.0), 0.15)
        config = replace(stanley.recipe("array"), steps=8, save_every=4, batch=16, warmup=0)
        run = train(config, tmp_path / "run", energy=energy, data=x)
        model = stanley.load(run, energy=energy)
        assert model.standardised.levels is not None
        assert model.sample(3, steps=2).x.shape == (3, 2)
        with pytest.raises(StanleyError, match=r"network 'Net' knows none.*contrastive"):
            train(config, tmp_path / "other", energy=Net(), data=x)


KINDS: dict[str, Callable[[Tensor], Any]] = {
    "array": lambda x: x.numpy(),
    "float64": lambda x: x.double(),
    "TensorDataset": lambda x: TensorDataset(x, torch.zeros(len(x))),
    "lists": lambda x: x.tolist(),
    "map-style": lambda x: Items(list(x)),
    "labelled": lambda x: Items([(row, 1) for row in x]),
}


class Items(TorchDataset[Any]):
    def __init__(self, items: list[Any], length: int | None = None) -> None:
        self.items, self.length = items, len(items) if length is None else length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, k: int) -> Any:
        return self.items[k]


class TestData:
    @pytest.mark.parametrize("kind", KINDS)
    def test_every_kind_is_the_same_rows(self, x: Tensor, kind: str) -> None:
        a, b = dataset_of(x), dataset_of(KINDS[kind](x))
        assert torch.equal(a.train, b.train)
        assert torch.equal(a.test, b.test)
        together = torch.cat([a.train, a.test])
        assert torch.equal(together.sort(0).values, x.sort(0).values)
        assert len(a.test) == len(x) // 10

    def test_a_dataset_keeps_its_split(self, short: TrainConfig, x: Tensor, tmp_path: Path) -> None:
        data = stanley.Dataset(x[:300], x[300:])
        run = train(short, tmp_path / "run", energy=Net(), data=data)
        scores = stanley.evaluate(run, energy=Net(), data=data, num=20, steps=2)
        assert scores["energy"]["held_out"]["n"] == 100

    def test_points_of_any_shape(self, short: TrainConfig, tmp_path: Path) -> None:
        x = torch.randn(100, 2, 3)
        run = train(short, tmp_path / "run", energy=Net(d=6), data=x)
        stanley.evaluate(run, energy=Net(d=6), data=x, num=20, steps=2)
        assert len(plot_run(run)) > 1

    def test_events_are_inpainted_as_they_are(self, short: TrainConfig, tmp_path: Path) -> None:
        """(C, H, W) in float32 are no images of bytes, and what is known of one stays."""
        x = 3 + torch.randn(60, 2, 4, 3)
        run = train(short, tmp_path / "run", energy=Net(d=24), data=x)
        model = stanley.load(run, energy=Net(d=24), data=x)
        assert not model.is_image
        assert torch.equal(data_of(model).train.mean(), dataset_of(x).train.mean())
        mask = torch.zeros(4, 3, dtype=torch.bool)
        mask[:, 1:] = True
        start = model.starts(6, "noise", fresh())
        found = inpaint(model.sampler, model.potential, x[:3], mask, start, 5, generator=fresh())
        assert found.draws.shape == (3, 2, 2, 4, 3)
        known = found.draws[..., ~mask]
        assert torch.equal(known, x[:3, None][..., ~mask].expand_as(known))

    def test_bytes_are_images(self, short: TrainConfig, tmp_path: Path) -> None:
        x = torch.randint(0, 256, (60, 4, 4, 3), dtype=torch.uint8)
        run = train(short, tmp_path / "run", energy=Net(d=48), data=x)
        model = stanley.load(run, energy=Net(d=48))
        assert model.is_image
        assert model.event_shape == (3, 4, 4)

    def test_an_iterable_trains_and_says_what_it_cannot_have(
        self, short: TrainConfig, x: Tensor, tmp_path: Path
    ) -> None:
        loader = DataLoader(TensorDataset(x), batch_size=13, shuffle=True, generator=fresh())
        with pytest.warns(UserWarning, match="iterable.*does not equal.*no rows are held out"):
            run = train(short, tmp_path / "run", energy=Net(), data=loader)
        assert len(run.records()) == 12
        with pytest.raises(StanleyError, match="hold no rows out"):
            stanley.evaluate(run, energy=Net(), data=loader, num=20, steps=2)
        assert stanley.evaluate(run, energy=Net(), data=x, num=20, steps=2)["step"] == 12
        noise = newest(run).part("noise")
        with pytest.warns(UserWarning, match="iterable|changed steps"):
            run = train(replace(short, steps=14), run.path, energy=Net(), data=loader)
        assert len(run.records()) == 14
        assert all(torch.equal(noise[n], newest(run).part("noise")[n]) for n in noise)

    def test_an_iterable_gives_each_row_once_a_pass(self, x: Tensor) -> None:
        data = dataset_of(DataLoader(TensorDataset(x), batch_size=7))
        assert data.stream is not None
        assert torch.equal(data.train, x)  # the first rows, which are trained on as well
        rows = torch.cat([data.stream.take(50) for _ in range(2 * len(x) // 50)])
        assert torch.equal(rows, torch.cat([x, x]))

    def test_a_generator_that_ends_is_told(
        self, short: TrainConfig, x: Tensor, tmp_path: Path
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(StanleyError, match="gives no batch when it is begun again"):
                train(short, tmp_path / "run", energy=Net(), data=iter([x[:50], x[50:100]]))


def with_nan(x: Tensor) -> Tensor:
    x = x.clone()
    x[7, 1] = torch.nan
    return x


BAD_DATA: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "empty": (lambda x: x[:0], "empty: shape"),
    "no items": (lambda x: Items([]), "empty: their length is 0"),
    "no batch": (lambda x: DataLoader(TensorDataset(x[:0])), "empty"),
    "one row": (lambda x: x[:1], "2 are needed"),
    "NaN": (with_nan, "NaN or infinite values in row 7;"),
    "NaN of a Dataset": (
        lambda x: stanley.Dataset(x, with_nan(x)),
        "NaN or infinite values in row 7 of test",
    ),
    "NaN of a loader": (
        lambda x: DataLoader(TensorDataset(with_nan(x)), batch_size=5),
        "batch 1.* NaN or infinite values in row 2",
    ),
    "longer than it is": (lambda x: Items(list(x), 500), "say that they have 500.*item 400"),
    "ragged": (lambda x: Items([*x[:5], torch.zeros(3)]), r"shape \(3,\) in item 5"),
    "ragged batches": (
        lambda x: [x[:5], torch.zeros(5, 3)],
        "no numbers of one shape",
    ),
    "numbers": (lambda x: x[:, 0], r"reshape numbers to \(N, 1\)"),
    "one point many times": (lambda x: x[:1].repeat(50, 1), "the same row 45 times"),
    "words": (lambda x: "x.npy", "data are a str, but must be a tensor"),
    "a mapping": (lambda x: {"x": x}, "data are a dict"),
    "a class": (lambda x: TensorDataset, "data are a type"),
    "complex": (lambda x: x.to(torch.complex64), "must be real numbers"),
    "batches of names": (lambda x: iter([{"x": x}]), "an item of the data is a dict"),
}


@pytest.mark.parametrize("kind", BAD_DATA)
def test_bad_data_are_refused_before_the_first_step(
    short: TrainConfig, x: Tensor, tmp_path: Path, kind: str
) -> None:
    data, message = BAD_DATA[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(StanleyError, match=message) as error:
            train(short, tmp_path / "run", energy=Net(), data=data(x))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_data_that_change_their_length_are_told(x: Tensor) -> None:
    class Shrinking(Items):
        def __getitem__(self, k: int) -> Any:
            self.length = 300
            return self.items[k]

    with pytest.raises(StanleyError, match="changed their length from 400 to 300"):
        dataset_of(Shrinking(list(x)))


class Changed(Net):
    def __init__(self, forward: Callable[[Net, Tensor], Any]) -> None:
        super().__init__()
        self.other = forward

    def forward(self, x: Tensor) -> Any:
        return self.other(self, x)


class BatchNorm(Net):
    def __init__(self) -> None:
        super().__init__()
        self.layers.insert(1, nn.BatchNorm1d(8))


class Dropout(Net):
    def __init__(self) -> None:
        super().__init__()
        self.layers.insert(1, nn.Dropout(0.5))


def base(net: Net, x: Tensor) -> Tensor:
    return Net.forward(net, x)


BAD_NETWORKS: dict[str, tuple[Callable[[], Any], str]] = {
    "column": (
        lambda: Changed(lambda net, x: base(net, x)[:, None]),
        r"returned shape \(8, 1\).*must return \(8,\).*squeeze",
    ),
    "one number": (lambda: Changed(lambda net, x: base(net, x).sum()), r"returned shape \(\)"),
    "tuple": (lambda: Changed(lambda net, x: (base(net, x),)), "returned a tuple"),
    "detached": (lambda: Changed(lambda net, x: base(net, x).detach()), "no gradient"),
    "no gradient in x": (
        lambda: Changed(lambda net, x: base(net, x.detach())),
        "no finite gradient with respect to its points",
    ),
    "no gradient in weights": (
        lambda: Changed(lambda net, x: x.square().sum(1)),
        "no gradient reaches any of them",
    ),
    "other rows": (
        lambda: Changed(lambda net, x: base(net, x - x.mean(0))),
        "must not depend on the other points",
    ),
    "other rows a little": (
        lambda: Changed(lambda net, x: base(net, x - 3e-3 * x.mean(0))),
        "must not depend on the other points",
    ),
    "batch norm": (BatchNorm, r"layers.1 is a BatchNorm1d\).*must not depend on the other points"),
    "dropout": (Dropout, r"draws random numbers.*layers.1 is a Dropout"),
    "NaN": (lambda: Changed(lambda net, x: base(net, x) * torch.nan), "must be finite"),
    "float64": (lambda: Net().double(), "weights of torch.float64.*float()"),
    "no weights": (lambda: nn.Flatten(), "has no weights to train"),
    "wrong dimension": (lambda: Net(d=3), "failed on points of shape.*RuntimeError"),
    "a class": (lambda: Net, "energy is the class Net, but must be a torch.nn.Module"),
    "a function": (lambda: torch.sum, "must be a torch.nn.Module"),
    "a lazy layer": (lambda: nn.LazyLinear(1), "has no shape yet"),
}


@pytest.mark.parametrize("kind", BAD_NETWORKS)
def test_bad_networks_are_refused_before_the_first_step(
    short: TrainConfig, x: Tensor, tmp_path: Path, kind: str
) -> None:
    energy, message = BAD_NETWORKS[kind]
    with pytest.raises(StanleyError, match=message) as error:
        train(short, tmp_path / "run", energy=energy(), data=x)
    assert "\n" not in str(error.value)
    run = RunDirectory(tmp_path / "run")
    assert not run.records()
    assert not run.has_begun()


def test_a_good_network_is_not_refused_for_its_noise(short: TrainConfig, tmp_path: Path) -> None:
    """Negative control: a row alone differs from the same row among others in rounding."""
    wide = nn.Sequential(nn.Linear(64, 300), nn.Tanh(), nn.Linear(300, 1), nn.Flatten(0))
    train(short, tmp_path / "run", energy=wide, data=1e3 * torch.randn(200, 64))


def test_other_code_with_the_same_weights_is_refused(
    short: TrainConfig, x: Tensor, tmp_path: Path
) -> None:
    """By what it computes: names and shapes are those of the run."""

    class Other(Net):
        def __init__(self) -> None:
            super().__init__()
            self.layers[1] = nn.GELU()

    class Rewritten(Net):
        """The same function, its sums taken in another order and in float64."""

        def forward(self, x: Tensor) -> Tensor:
            wide = not self.training
            layers = copy.deepcopy(self.layers).double() if wide else self.layers
            terms = layers(x.double() if wide else x).squeeze(-1)
            return (terms.to(x.dtype) + x[:, 1].square() / 4) + x[:, 0].square() / 4

    run = train(short, tmp_path / "run", energy=Net(), data=x)
    packed = stanley.pack(run, tmp_path / "packed", energy=Net())
    message = "computes something else with them: E of one point is"
    longer = replace(short, steps=14)
    for weights in ("average", "raw"):
        with pytest.raises(StanleyError, match=message):
            stanley.load(run, energy=Other(), weights=weights)
        stanley.load(run, energy=Rewritten(), weights=weights)
    for use in (
        lambda net: stanley.load(packed, energy=net),
        lambda net: stanley.evaluate(run, energy=net, data=x, num=20, steps=2),
        lambda net: train(longer, run.path, energy=net, data=x),
    ):
        with pytest.raises(StanleyError, match=message) as error:
            use(Other())
        assert "\n" not in str(error.value)
        assert run.read_config()["network"]["class"] == "Net"
        assert not [e for e in run.events() if e["kind"] == "reconfigured"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            use(Rewritten())
    assert len(run.records()) == 14


def test_a_constant_in_the_code_is_seen_too(short: TrainConfig, x: Tensor, tmp_path: Path) -> None:
    class Wider(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 1e-4 * x.square().sum(1)

    run = train(replace(short, reference_std=2.0), tmp_path / "run", energy=Net(), data=x)
    stanley.load(run, energy=Net())
    with pytest.raises(StanleyError, match="computes something else"):
        stanley.load(run, energy=Wider())


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "wide": lambda: nn.Sequential(nn.Linear(50, 700), nn.SiLU(), nn.Linear(700, 1), nn.Flatten(0)),
    "deep": lambda: nn.Sequential(
        *(m for _ in range(8) for m in (nn.Linear(50, 50), nn.ReLU())),
        nn.Linear(50, 1),
        nn.Flatten(0),
    ),
    "convolutions": lambda: nn.Sequential(
        *(nn.Unflatten(1, (2, 5, 5)), nn.Conv2d(2, 32, 3, padding=1), nn.Tanh()),
        *(nn.Conv2d(32, 1, 5), nn.Flatten(0)),
    ),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_rounding_bounds_what_two_ways_to_compute_part_by(kind: str) -> None:
    """float32 and float64, a row among others and alone; a change of 10⁻³ is more than rounding."""
    energy = NETWORKS[kind]()
    x = 10 ** float(4 * torch.rand(()) - 2) * torch.randn(8, 50)
    far = ROUNDINGS * rounding(energy, x)
    u = kept_values(energy, x)
    alone = torch.cat([kept_values(energy, row[None]) for row in x])
    exact = kept_values(copy.deepcopy(energy).double(), x.double())
    assert float((alone - u).abs().max()) <= far
    assert float((exact - u).abs().max()) <= far
    assert float((1e-3 * u).abs().max()) > far
    require_same_values(energy, x, exact.float(), "run")
    with pytest.raises(StanleyError, match="run: the network that is handed over"):
        require_same_values(energy, x, 1.001 * u, "run")
    require_same_values(energy, x, torch.full_like(u, torch.nan), "run")  # nothing was known
    with pytest.raises(StanleyError, match=r"'probe.energy' has shape \(3,\)"):
        require_same_values(energy, x, u[:3], "run")


def test_what_is_kept_of_a_network_does_not_change_it(
    short: TrainConfig, x: Tensor, tmp_path: Path
) -> None:
    """A buffer that counts every evaluation, and runs that are saved more and less often."""

    class Counting(Net):
        calls: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(x)

    counts = []
    for save_every in (1, 6):
        config = replace(short, save_every=save_every)
        with pytest.warns(UserWarning, match="changes its buffers"):
            run = train(config, tmp_path / str(save_every), energy=Counting(), data=x)
        counts.append(float(newest(run).tensors["energy.calls"]))
    assert counts[0] == counts[1]


def test_buffers_that_change_are_said_and_saved(
    short: TrainConfig, x: Tensor, tmp_path: Path
) -> None:
    class Counting(Net):
        calls: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.calls += 1
            return super().forward(x)

    with pytest.warns(UserWarning, match=r"Counting changes its buffers \(calls\)"):
        run = train(short, tmp_path / "run", energy=Counting(), data=x)
    assert float(newest(run).tensors["average.calls"]) == 12


class TestResuming:
    def test_needs_the_parts_again(self, short: TrainConfig, x: Tensor, tmp_path: Path) -> None:
        train(short, tmp_path / "run", energy=Net(), data=x)
        longer = replace(short, steps=14)
        with pytest.raises(
            StanleyError, match=r"data Tensor .*given in Python, must be handed over: data="
        ):
            train(longer, tmp_path / "run", energy=Net())
        with pytest.raises(
            StanleyError, match=r"network Net .*given in Python, must be handed over"
        ):
            train(longer, tmp_path / "run", data=x)
        with pytest.raises(
            StanleyError, match=r"configuration \(data.fingerprint: '\w+' → '\w+'; st"
        ):
            train(longer, tmp_path / "run", energy=Net(), data=x + 1)
        with pytest.raises(StanleyError, match=r"trained on 400 rows of other values than the 400"):
            stanley.evaluate(tmp_path / "run", energy=Net(), data=x.flip(0))
        with pytest.raises(StanleyError, match=r"data.rows: 400 → 399"):
            train(longer, tmp_path / "run", energy=Net(), data=x[:-1])
        with pytest.raises(
            StanleyError,
            match=r"do not fit .*'layers.0.weight' \(\(8, 2\) there, \(5, 2\) here\), "
            r"'layers.0.bias'.*'layers.2.weight'",
        ):
            train(longer, tmp_path / "run", energy=Net(5), data=x)
        with pytest.warns(UserWarning, match="steps"):
            run = train(longer, tmp_path / "run", energy=Net(), data=x.numpy())
        assert len(run.records()) == 14

    def test_the_other_way_round_is_refused_too(self, short: TrainConfig, tmp_path: Path) -> None:
        train(short, tmp_path / "run")
        with pytest.raises(StanleyError, match="another configuration"):
            train(short, tmp_path / "run", energy=Net())
        with pytest.raises(StanleyError, match=r"network 'mlp' of the library.*leave it out"):
            stanley.load(tmp_path / "run", energy=Net())

    def test_killed_with_9_it_resumes_bit_for_bit(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        script = tmp_path / "mine.py"
        script.write_text(SCRIPT)

        def here(out: Path, seed: int) -> RunDirectory:
            monkeypatch.setattr(sys, "argv", [str(script), str(out), str(seed)])
            runpy.run_path(str(script))
            return RunDirectory(out)

        unbroken, out = here(tmp_path / "unbroken", 1), tmp_path / "killed"
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        for number, more in enumerate(torch.randint(1, 20, (2,)).tolist(), 1):
            # later starts bring other first weights, in whose place come those of the run
            command = [sys.executable, "-W", "ignore", script, out, str(number)]
            process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment)
            goal = lines(out) + more
            wait_for(lambda goal=goal: lines(out) >= goal, process)
            process.kill()
            process.communicate()
        assert lines(out) < 150
        killed = here(out, 3)
        assert [e["kind"] for e in killed.events()].count("resumed") >= 2
        same_state(newest(unbroken), newest(killed))
        assert without_time(unbroken.records()) == without_time(killed.records())


SCRIPT = """
import sys, torch
import stanley
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Linear(8, 1))
        self.register_buffer("shift", torch.zeros(2))
    def forward(self, x):
        return self.layers(x - self.shift).squeeze(-1) + x.square().sum(1) / 4

torch.set_num_threads(1)
x = torch.randn(400, 2, generator=torch.Generator().manual_seed(5))
torch.manual_seed(int(sys.argv[2]))
config = stanley.TrainConfig(
    data=x, network=Net(), sampler=stanley.MALA(0.3), steps=150, save_every=7, batch=16,
    objective=stanley.Contrastive(chain_steps=1, bank_size=32, adapt=stanley.RobbinsMonro()),
)
stanley.train(config, sys.argv[1])
"""


class TestSampler:
    @pytest.mark.parametrize("sampler", [Coordinate(0.2), Adjusted(Coordinate(0.2))])
    def test_trains_resumes_loads(self, short: TrainConfig, tmp_path: Path, sampler: Any) -> None:
        adapt = short.objective.adapt if isinstance(sampler, Adjusted) else None  # type: ignore[attr-defined]
        config = changed(short, sampler=sampler, adapt=adapt)
        unbroken = train(config, tmp_path / "unbroken")
        broken = train(config, tmp_path / "run")
        newest(broken).path.unlink()  # type: ignore[union-attr]
        same_state(newest(unbroken), newest(train(config, tmp_path / "run")))
        written = unbroken.read_config()["sampler"]
        inner = written.get("proposal", written)
        assert inner["kind"] == "given"
        assert inner["arguments"] == {"step_size": 0.2, "first": False}
        for own in (Coordinate, Coordinate(0.2), sampler):
            model = stanley.load(unbroken, sampler=own)
            assert type(model.sampler) is type(sampler)
            assert model.sample(3, steps=2).x.shape == (3, 2)
        scores = stanley.evaluate(unbroken, sampler=Coordinate, num=20, steps=2)
        assert str(scores["sampler"]).count("Coordinate") == 1
        with pytest.raises(StanleyError, match=r"sampler .*Coordinate, given in Python"):
            stanley.load(unbroken)
        with pytest.raises(StanleyError, match="first: False → True"):
            stanley.load(unbroken, sampler=Coordinate(0.2, first=True))

    def test_another_one_is_another_run(self, short: TrainConfig, tmp_path: Path) -> None:
        config = changed(short, sampler=Coordinate(0.2), adapt=None)
        train(config, tmp_path / "run")
        with pytest.raises(StanleyError, match=r"sampler.arguments.step_size: 0.2 → 0.3"):
            train(replace(config, sampler=Coordinate(0.3)), tmp_path / "run")  # type: ignore[arg-type]
        with pytest.raises(StanleyError, match="must be handed over: sampler=Coordinate"):
            train(replace(config, sampler=stanley.Langevin(0.2)), tmp_path / "run")

    def test_what_is_no_sampler_is_refused(self, short: TrainConfig, tmp_path: Path) -> None:
        @dataclass(frozen=True)
        class NoStep:
            step_size: float = 0.1

            def init(self, potential: Any, x: Tensor) -> Any:
                return evaluate(potential, x)

        @dataclass(frozen=True)
        class NoSize(Coordinate):
            step_size: Any = None

        cases = [(NoStep(), "no method step"), (object(), "no frozen dataclass")]
        cases += [(NoSize(), "step_size None")]
        for sampler, message in cases:
            with pytest.raises(StanleyError, match=message):
                train(changed(short, adapt=None), tmp_path / "run", sampler=sampler)
        assert not (tmp_path / "run").exists()


class TestSteps:
    def test_train_is_the_loop_drained(self, short: TrainConfig, tmp_path: Path) -> None:
        a = train(short, tmp_path / "a")
        records = list(steps(short, tmp_path / "b"))
        assert without_time(records) == without_time(a.records())
        assert records == RunDirectory(tmp_path / "b").records()
        same_state(newest(a), newest(RunDirectory(tmp_path / "b")))
        assert list(steps(short, tmp_path / "b")) == []  # nothing is left to do

    def test_left_early_it_is_saved_closed_and_goes_on(
        self, short: TrainConfig, tmp_path: Path
    ) -> None:
        unbroken = train(short, tmp_path / "unbroken")
        left = int(torch.randint(1, 12, ()))
        seen = []
        for record in steps(short, tmp_path / "run"):
            seen.append(record)
            if record["step"] == left:
                break
        gc.collect()
        run = RunDirectory(tmp_path / "run")
        assert newest(run).step == len(run.records()) == left
        seen += list(steps(short, tmp_path / "run"))  # the lock was given back
        same_state(newest(unbroken), newest(run))
        assert without_time(seen) == without_time(unbroken.records())

    def test_what_is_due_is_on_the_disk_when_a_record_comes(
        self, short: TrainConfig, tmp_path: Path
    ) -> None:
        run = RunDirectory(tmp_path / "run")
        for record in steps(short, tmp_path / "run"):
            assert run.records()[-1] == record
            assert newest(run).step == record["step"] // 6 * 6
            assert stanley.load(run).step == newest(run).step

    def test_an_error_in_the_body_leaves_a_run_that_goes_on(
        self, short: TrainConfig, tmp_path: Path
    ) -> None:
        def body() -> None:
            for record in steps(short, tmp_path / "run"):
                if record["step"] == 8:
                    raise RuntimeError("of the user's own")

        with pytest.raises(RuntimeError, match="own"):
            body()
        gc.collect()
        train(short, tmp_path / "run")
        same_state(
            newest(train(short, tmp_path / "unbroken")), newest(RunDirectory(tmp_path / "run"))
        )

    def test_records_that_are_read_together_all_come(
        self, short: TrainConfig, tmp_path: Path
    ) -> None:
        records = list(steps(changed(short, adapt=None), tmp_path / "run", read_every=4))
        assert [r["step"] for r in records] == list(range(1, 13))

    def test_after_a_rollback_steps_come_again(self, small: TrainConfig, tmp_path: Path) -> None:
        config = changed(
            small,
            sampler=stanley.Langevin(4.0),
            adapt=None,
            optimizer=stanley.Adam(lr=0.5),
            energy_l2=0.0,
            clip_norm=0.0,
            gap_limit=20.0,
            steps=60,
            on_divergence="rollback",
            max_rollbacks=30,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            numbers = [r["step"] for r in steps(config, tmp_path / "run")]
        run = RunDirectory(tmp_path / "run")
        rollbacks = [e for e in run.events() if e["kind"] == "rollback"]
        assert sorted(set(numbers)) == list(range(1, 61))
        again = sum(later <= earlier for earlier, later in pairwise(numbers))
        assert 1 <= again <= len(rollbacks)
        assert newest(run).step == 60


def test_what_the_loop_takes_is_said_once_and_shown_in_full(tmp_path: Path) -> None:
    a, b, c = (inspect.signature(f).parameters for f in (stanley.train, stanley.steps, open_run))
    assert a == b
    assert {name: a[name] for name in c} == dict(c)
    assert set(a) - set(c) == {"picture", "progress", "title"}
    assert list(a)[:3] == ["config", "out", "energy"]
    for function in (stanley.train, stanley.steps, open_run):
        with pytest.raises(TypeError, match=r"unexpected keyword argument 'enrgy'"):
            function(None, tmp_path, **{"enrgy": 1})
    with pytest.raises(TypeError, match="'progress'"):
        open_run(None, tmp_path, **{"progress": True})


class TestOwnLoop:
    def loop(self, config: TrainConfig, out: Path, data: Tensor, until: int) -> RunDirectory:
        with open_run(config, out, energy=Net(), data=data) as opened:
            state = opened.state
            while state.step < until:
                x = stanley.data.next_batch(opened.data, config.batch, state.data_generator)
                loss = state.energy(x).mean() + state.energy(x + 1).square().mean()
                state.optimizer.zero_grad()
                loss.backward()
                state.optimizer.step()
                opened.finish_step(loss=loss)
        return opened.run

    def test_is_saved_and_resumed_bit_for_bit(
        self, short: TrainConfig, x: Tensor, tmp_path: Path
    ) -> None:
        torch.manual_seed(1)
        unbroken = self.loop(short, tmp_path / "a", x, 12)
        torch.manual_seed(1)
        self.loop(short, tmp_path / "b", x, 5)
        assert newest(RunDirectory(tmp_path / "b")).step == 5
        resumed = self.loop(short, tmp_path / "b", x, 12)
        same_state(newest(unbroken), newest(resumed))
        assert unbroken.records() == resumed.records()
        saved = newest(unbroken)
        average, weights = saved.part("average"), saved.part("energy")
        assert not any(torch.equal(average[name], weights[name]) for name in weights)
        assert stanley.evaluate(resumed, energy=Net(), data=x, num=20, steps=2)["step"] == 12

    def test_an_error_saves_nothing_and_what_is_not_finite_is_told(
        self, short: TrainConfig, x: Tensor, tmp_path: Path
    ) -> None:
        with (
            pytest.raises(DivergenceError, match="step 1: loss is nan"),
            open_run(short, tmp_path / "run", energy=Net(), data=x) as opened,
        ):
            opened.finish_step(loss=float("nan"))
        assert newest(RunDirectory(tmp_path / "run")).step == 0


def test_iterables_of_torch_are_streams() -> None:
    class Endless(IterableDataset[Tensor]):
        def __iter__(self) -> Iterator[Tensor]:
            while True:
                yield torch.randn(16, 3, generator=generator)

    generator = fresh()
    data = dataset_of(Endless())
    assert data.stream is not None
    assert data.event_shape == (3,)
    assert data.stream.take(40).shape == (40, 3)


def test_messages_of_the_library_network_are_as_before(tmp_path: Path) -> None:
    """Negative control: what is the library's own needs nothing."""
    config = TrainConfig(
        data=stanley.Rings(num=200), network=MLP(width=4), sampler=stanley.Langevin(0.01), steps=2
    )
    run = train(config, tmp_path / "run")
    assert stanley.load(run).step == 2
    assert not re.search("given|by-name", (run.path / "config.json").read_text())
    assert np.isfinite(run.records()[-1]["gap"])
