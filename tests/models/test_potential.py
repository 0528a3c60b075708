"""A run's chunks and precision hold wherever its energy is sampled, judged or used,
and not in training alone.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from stanley.cli.diagnosing import diagnose
from stanley.cli.images.interpolating import interpolate
from stanley.cli.images.restoring import denoise, inpaint
from stanley.cli.images.scoring import ood
from stanley.cli.sampling import sample
from stanley.data import MNIST
from stanley.errors import StanleyError
from stanley.judging.evaluate import evaluate, judge_plane
from stanley.judging.likelihood import held_out_likelihood
from stanley.models.packing import pack
from stanley.models.trained import load
from stanley.networks import ConvNet, LevelConvNet
from stanley.samplers import MALA, Langevin, run_chains
from stanley.samplers.run import potential_for
from stanley.training.config import TrainConfig
from stanley.training.loop import train
from stanley.training.objectives import Denoising
from stanley.types import Bf16, Chunked, Potential, in_float32, layers
from stanley.uses import Composed
from tests.conftest import changed

ROWS = 5  # that the network is given at a time
NUM = 12


@dataclass
class Seen:
    """What reached a network: the most rows at once, and the precisions that it computed in."""

    rows: int = 0
    precisions: set[str] = field(default_factory=set)

    def note(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, nn.Linear | nn.Conv2d):
            self.rows = max(self.rows, len(inputs[0]))
            self.precisions.add(
                "bf16" if torch.is_autocast_enabled("cpu") else str(inputs[0].dtype)
            )


@contextmanager
def watched() -> Iterator[Seen]:
    seen = Seen()
    handle = nn.modules.module.register_module_forward_pre_hook(seen.note)
    try:
        yield seen
    finally:
        handle.remove()


def trained(config: TrainConfig, out: Path, **fields: object) -> Path:
    config = changed(config, adapt=None, steps=2, save_every=2, **fields)  # type: ignore[arg-type]
    return train(config, out, device="cpu").path


@pytest.fixture
def digits(small: TrainConfig, tmp_path: Path) -> TrainConfig:
    for name in ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"):
        pixels = torch.randint(256, (2 * NUM, 28, 28), dtype=torch.uint8)
        (tmp_path / name).write_bytes(
            struct.pack(">4i", 2051, *pixels.shape) + pixels.numpy().tobytes()
        )
    return changed(
        small,
        data=MNIST(root=str(tmp_path), size=8),
        network=ConvNet(width=2),
        sampler=Langevin(1e-4),
        adapt=None,
        batch=4,
        chain_steps=1,
        steps=2,
    )


def picture(folder: Path, name: str) -> str:
    from PIL import Image

    file = folder / f"{name}.png"
    Image.fromarray(torch.randint(256, (8, 8), dtype=torch.uint8).numpy()).save(file)
    return str(file)


pytestmark = pytest.mark.filterwarnings(
    "ignore:the Fréchet distance"
)  # of few samples, which is said


#: What can be done with a run, and the precision in which it is right to do it where the run's
#: chains are in bfloat16.
USES: dict[str, tuple[Callable[[Path, Path], object], set[str]]] = {
    "sample": (lambda run, _: load(run, device="cpu").sample(NUM, steps=2), {"bf16"}),
    "sample from the bank": (
        lambda run, _: load(run, device="cpu").sample(NUM, steps=2, start="bank"),
        {"bf16"},
    ),
    "sample on the command line": (
        lambda run, _: sample(run, num=NUM, steps=2, device="cpu"),
        {"bf16"},
    ),
    "sample with a Metropolis test": (
        lambda run, _: sample(run, "--sampler", "mala", num=NUM, steps=2, warm_up=2, device="cpu"),
        {"torch.float32"},
    ),
    "sample with a Metropolis test of a given step": (
        lambda run, _: sample(
            run, "--sampler", "mala", "--sampler.step-size", "1e-4", num=NUM, steps=2, device="cpu"
        ),
        {"torch.float32"},
    ),
    "evaluate": (
        lambda run, _: evaluate(run, num=NUM, steps=2, features=["pixels"], device="cpu"),
        {"bf16", "torch.float32"},  # chains; energies that are compared
    ),
    "likelihood": (
        lambda run, _: held_out_likelihood(
            run, chains=NUM, levels=2, model_steps=2, rows=NUM, device="cpu"
        ),
        {"torch.float32"},
    ),
    "pack": (lambda run, tmp: pack(run, tmp / "packed", bank=NUM), {"torch.float32"}),
    "diagnose": (
        lambda run, _: diagnose(
            run,
            num=NUM,
            steps=4,
            warm_up=2,
            pairs=20,
            coupled_steps=2,
            rays=NUM,
            copies=NUM,
            device="cpu",
        ),
        {"bf16", "torch.float32"},  # chains and pairs; U, its growth and the exact twin
    ),
    "inpaint": (
        lambda run, tmp: inpaint(
            str(run), mask="left-half", held_out=3, num=4, steps=2, device="cpu"
        ),
        {"bf16"},
    ),
    "denoise": (
        lambda run, _: denoise(str(run), noise=0.2, held_out=3, num=4, steps=2, device="cpu"),
        {"bf16"},
    ),
    "denoise with a Metropolis test": (
        lambda run, _: denoise(
            str(run),
            "--sampler",
            "mala",
            "--sampler.step-size",
            "1e-4",
            noise=0.2,
            held_out=3,
            num=4,
            steps=2,
            device="cpu",
        ),
        {"torch.float32"},
    ),
    "interpolate": (
        lambda run, tmp: interpolate(
            str(run), picture(tmp, "a"), picture(tmp, "b"), steps=2, device="cpu"
        ),
        {"torch.float32"},
    ),
    "ood": (lambda run, tmp: ood(str(run), picture(tmp, "a"), device="cpu"), {"torch.float32"}),
}


@pytest.mark.parametrize("use", USES)
def test_the_network_sees_no_more_rows_than_in_training(
    digits: TrainConfig, tmp_path: Path, use: str
) -> None:
    run = trained(digits, tmp_path / "run", chunk_size=ROWS)
    with watched() as seen:
        USES[use][0](run, tmp_path)
    assert 0 < seen.rows <= max(ROWS, 8)  # packing reads eight points back


@pytest.mark.parametrize("use", USES)
def test_the_precision_is_that_of_training_except_where_values_of_u_are_compared(
    digits: TrainConfig, tmp_path: Path, use: str
) -> None:
    run = trained(digits, tmp_path / "run", precision="bf16")
    with watched() as seen:
        USES[use][0](run, tmp_path)
    assert seen.precisions - {"torch.float64"} == USES[use][1]


@pytest.mark.parametrize("fast", [True, False])
def test_auto_is_bf16_where_the_hardware_has_it(
    digits: TrainConfig, tmp_path: Path, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stanley.training.config.fast_in_bf16", lambda device: fast)
    precision = "bf16" if fast else "torch.float32"
    with watched() as seen:
        run = trained(digits, tmp_path / "chains", precision="auto")
    assert seen.precisions == {precision, "torch.float32"}  # the gradient of the weights
    with watched() as seen:
        load(run, device="cpu").sample(NUM, steps=2)
    assert seen.precisions == {precision}


@pytest.mark.parametrize("units", [True, False, None])
def test_bf16_where_there_is_none_is_said(
    digits: TrainConfig, tmp_path: Path, units: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stanley.training.opening.has_bf16_units", lambda device: units)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        trained(digits, tmp_path / "run", precision="bf16")
        trained(digits, tmp_path / "auto", precision="auto")
    said = [str(w.message) for w in told if "units for bfloat16" in str(w.message)]
    assert len(said) == (1 if units is False else 0)


@pytest.mark.parametrize("sampler", [MALA(1e-4), Langevin(1e-4)])
def test_a_metropolis_test_is_never_in_bf16(
    digits: TrainConfig, tmp_path: Path, sampler: MALA | Langevin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused where it is asked for, float32 where the hardware decides: of chains in training, and
    of those after a training that only denoises."""
    monkeypatch.setattr("stanley.training.config.fast_in_bf16", lambda device: True)
    adjusted = isinstance(sampler, MALA)
    if adjusted:
        with pytest.raises(StanleyError, match=r"precision is 'bf16'.* use float32 or auto"):
            changed(digits, sampler=sampler, precision="bf16")
    with watched() as seen:
        trained(digits, tmp_path / "chains", sampler=sampler, precision="auto")
    assert ("bf16" in seen.precisions) != adjusted
    denoising = replace(
        digits,
        network=LevelConvNet(width=2, blocks=0),
        objective=Denoising(),
        sampler=sampler,
        precision="bf16",
    )
    model = load(train(denoising, tmp_path / "denoised", device="cpu"), device="cpu")
    with watched() as seen:
        run_chains(
            model.sampler,
            potential_for(model.sampler, model.potential),
            model.starts(NUM, "noise", torch.Generator().manual_seed(0)),
            2,
            generator=torch.Generator().manual_seed(0),
        )
    assert ("torch.float32" in seen.precisions) == adjusted
    assert "bf16" in seen.precisions  # the ladder


def test_negative_control_without_chunks_all_rows_come_at_once(
    digits: TrainConfig, tmp_path: Path
) -> None:
    run = trained(digits, tmp_path / "run")
    with watched() as seen:
        load(run, device="cpu").sample(NUM, steps=2)
    assert seen.rows == NUM
    assert seen.precisions == {"torch.float32"}


def test_exact_scores_in_the_plane_come_in_chunks_and_float64(
    small: TrainConfig, tmp_path: Path
) -> None:
    """The same KL whatever chains run in, and the quadrature fits wherever training did."""
    run = trained(small, tmp_path / "run", sampler=Langevin(0.01), chunk_size=500, precision="bf16")
    with watched() as seen:
        scores = evaluate(run, num=NUM, steps=2, device="cpu")
    assert seen.rows == 500
    assert seen.precisions == {"bf16", "torch.float32", "torch.float64"}
    plain = replace(load(run, device="cpu"), config=changed(small, adapt=None))
    data = small.data.load()
    assert scores["kl"] == pytest.approx(judge_plane(plain, data, data.test)["kl"], abs=1e-9)


def test_a_packed_model_keeps_both(digits: TrainConfig, tmp_path: Path) -> None:
    run = trained(digits, tmp_path / "run", chunk_size=ROWS, precision="bf16")
    model = load(pack(run, tmp_path / "packed"), device="cpu")
    assert model.potential == Potential(Chunked(Bf16(model.energy), ROWS), digits.temperature)


def test_training_and_what_comes_after_have_one_potential(
    digits: TrainConfig, tmp_path: Path
) -> None:
    model = load(trained(digits, tmp_path / "run", chunk_size=ROWS, precision="bf16"), device="cpu")
    assert model.potential == model.config.potential(model.energy)
    assert [type(layer) for layer in layers(model.potential)] == [
        Potential,
        Chunked,
        Bf16,
        type(model.energy),
    ]
    assert in_float32(model.potential) == Potential(Chunked(model.energy, ROWS), digits.temperature)


def test_a_composition_of_runs_keeps_the_chunks_of_each(
    digits: TrainConfig, tmp_path: Path
) -> None:
    model = load(trained(digits, tmp_path / "run", chunk_size=ROWS), device="cpu")
    g = torch.Generator()
    with watched() as seen:
        run_chains(
            MALA(1e-4),
            Composed((model.potential, model.potential)),
            model.starts(NUM, "noise", g),
            2,
            generator=g,
        )
    assert seen.rows == ROWS
