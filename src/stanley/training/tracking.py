"""A training run told to TensorBoard or Weights & Biases as it goes.

RUN/tensorboard   the event files, for `tensorboard --logdir RUN`
RUN/wandb         what wandb keeps, and the id under which a resumed run goes on

The records of the run directory are complete without them: a tracker that fails is warned of once,
and training goes on.
"""

from __future__ import annotations

import json
import secrets
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from stanley.config import flatten, kind_of
from stanley.data import to_bytes
from stanley.errors import StanleyError, in_one_line, require
from stanley.files import write_atomic
from stanley.networks.levels import level_energy
from stanley.reading import read_whole
from stanley.runs.directory import Record, RunDirectory
from stanley.samplers import run_chains
from stanley.samplers.run import potential_for
from stanley.samplers.traits import with_step_size
from stanley.streams import stream
from stanley.training.config import TrainConfig
from stanley.training.objectives.warm_start import from_the_ladder
from stanley.training.state import TrainState

TRACKERS = ("tensorboard", "wandb")
SHOWN = 64  # images in a picture, 8 a row
CHAINS = 1000  # vectors in a histogram
COORDINATES = 16  # of vectors, with a histogram each
CELLS = 128  # a side, of the picture of vectors in the plane


class Tracker(Protocol):
    """What TensorBoard and Weights & Biases have in common."""

    def configuration(self, values: dict[str, Any]) -> None: ...

    def numbers(self, step: int, values: Mapping[str, float]) -> None: ...

    def histogram(self, step: int, name: str, values: np.ndarray) -> None: ...

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None: ...  # uint8 (H, W, 3)

    def went_back(self, step: int) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Events in RUN/tensorboard. What an earlier process wrote of later steps than `step` counts no
    more.
    """

    def __init__(self, run: Path, step: int) -> None:
        self.folder = run / "tensorboard"
        self.open(step)

    def open(self, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(self.folder), purge_step=step + 1 if step else None)

    def configuration(self, values: dict[str, Any]) -> None:
        lines = json.dumps(values, indent=4).splitlines()
        self.writer.add_text("configuration", "\n".join(f"    {line}" for line in lines))

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def histogram(self, step: int, name: str, values: np.ndarray) -> None:
        self.writer.add_histogram(name, values, step)

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        self.writer.add_image(name, pixels, step, dataformats="HWC")

    def went_back(self, step: int) -> None:
        self.writer.close()
        self.open(step)

    def flush(self) -> None:
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class WandB:
    """A run of Weights & Biases, `resume`d under the id that RUN/wandb keeps. What it is called,
    where it goes and whether it is offline is for wandb's own variables (WANDB_PROJECT, WANDB_MODE,
    …) to say.

    The step is a metric like others, against which all are drawn: wandb's own steps may not go
    back.
    """

    def __init__(self, run: Path, step: int) -> None:
        import os

        import wandb

        self.wandb = wandb
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "stanley"),
            name=os.environ.get("WANDB_NAME", run.name),
            dir=str(run),
            id=id_of(run),
            resume="allow",
        )
        self.run.define_metric("step")
        self.run.define_metric("*", step_metric="step")

    def configuration(self, values: dict[str, Any]) -> None:
        self.run.config.update(flatten(values), allow_val_change=True)

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log({"step": step, **values})

    def histogram(self, step: int, name: str, values: np.ndarray) -> None:
        self.run.log({"step": step, name: self.wandb.Histogram(values)})

    def picture(self, step: int, name: str, pixels: np.ndarray) -> None:
        self.run.log({"step": step, name: self.wandb.Image(pixels)})

    def went_back(self, step: int) -> None:
        pass  # later steps are told again

    def flush(self) -> None:
        pass  # wandb writes on its own

    def close(self) -> None:
        self.run.finish()


def id_of(run: Path) -> str:
    """The id of the run for wandb, made when it is first needed."""
    path = run / "wandb" / "stanley-id"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, f"{secrets.token_hex(4)}\n".encode())
    return read_whole(path, 1 << 10, "remove it").decode("ascii", "replace").strip()


def require_trackers(names: Sequence[str]) -> None:
    """Raise StanleyError for a tracker that is unknown, or whose package is missing."""
    for name in names:
        require(
            name in TRACKERS,
            f"track is {name!r}, but must be {' or '.join(TRACKERS)}; leave it out for none",
        )
        spec = find_spec(name)
        require(
            spec is not None and spec.origin is not None,  # a folder of that name has none
            f"track is {name!r}, whose package is not installed; pip install 'stanley[{name}]', or"
            " leave it out",
        )
    twice = [name for name in names if list(names).count(name) > 1]
    require(not twice, f"track names {twice[0] if twice else ''!r} twice; give it once")


def tracker_names(track: str | Sequence[str] | None) -> tuple[str, ...]:
    """`tensorboard,wandb`, or a list of them."""
    if isinstance(track, str):
        track = [name.strip() for name in track.split(",") if name.strip()]
    return tuple(track or ())


class Tracking:
    """What training tells its trackers; the one that fails is told no more."""

    def __init__(self, trackers: Mapping[str, Tracker]) -> None:
        self.trackers = dict(trackers)
        self.without_samples = False  # since they could not be drawn once

    @classmethod
    def of(cls, track: str | Sequence[str] | None, run: RunDirectory, step: int) -> Tracking:
        """Open the trackers at `step`; raises StanleyError where one cannot be."""
        names = tracker_names(track)
        require_trackers(names)
        opened: dict[str, Tracker] = {}
        for name in names:
            try:
                make = TensorBoard if name == "tensorboard" else WandB
                opened[name] = make(run.path, step)
            except Exception as error:  # whatever another package raises
                cls(opened).close()
                raise StanleyError(
                    f"track is {name!r}, which cannot start: {in_one_line(error)}"
                    + ("; log in with wandb login, or set WANDB_MODE=offline" * (name == "wandb"))
                ) from error
        return cls(opened)

    def __enter__(self) -> Tracking:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def each(self, tell: Callable[[Tracker], None]) -> None:
        """Tell every tracker; one that raises is warned of, and left alone from then on."""
        for name, tracker in list(self.trackers.items()):
            try:
                tell(tracker)
            except Exception as error:  # whatever another package raises must not stop training
                del self.trackers[name]
                warnings.warn(
                    f"{name} failed and is told no more ({in_one_line(error)}); the records of the"
                    " run are complete without it",
                    stacklevel=3,
                )

    def configuration(self, written: dict[str, Any]) -> None:
        """The configuration as the run's files hold it."""
        self.each(lambda tracker: tracker.configuration(written))

    def records(self, records: Sequence[Record]) -> None:
        """The finite numbers of each record, as train/NAME."""
        for record in records:
            numbers = {f"train/{k}": v for k, v in record.items() if v is not None and k != "step"}
            step = int(record["step"])
            self.each(lambda tracker, n=step, v=numbers: tracker.numbers(n, v))

    def went_back(self, step: int) -> None:
        """Training went back to the checkpoint of this step."""
        self.each(lambda tracker: tracker.went_back(step))

    def samples(self, config: TrainConfig, state: TrainState) -> None:
        """Pictures of images and of vectors in the plane, histograms of coordinates."""
        if not self.trackers:
            return
        self.each(lambda tracker: tracker.flush())
        if self.without_samples:
            return
        try:
            x = samples_of(config, state)
        except (StanleyError, RuntimeError) as error:  # RuntimeError: torch's, of memory for one
            self.without_samples = True
            warnings.warn(f"no samples are tracked: {in_one_line(error)}", stacklevel=2)
            return
        step = state.step
        if state.noise.is_image:
            pixels = grid_of(x[:SHOWN])
            self.each(lambda tracker: tracker.picture(step, "samples", pixels))
        elif x.dim() == 2:
            x = x if state.standardisation is None else state.standardisation.undo(x)
            x = x[x.isfinite().all(1)].cpu()
            d = x.shape[1]
            names = state.columns or [f"x[{k}]" for k in range(d)]
            for name, values in zip(names[:COORDINATES], x.T.numpy(), strict=False):
                self.each(
                    lambda tracker, n=name, v=values: tracker.histogram(step, f"samples/{n}", v)
                )
            if d == 2 and len(x) > 1:
                counts = counted(x)
                self.each(lambda tracker: tracker.picture(step, "samples", counts))

    def scores(self, step: int, scores: dict[str, Any]) -> None:
        """Every number of the scores, as scores/…"""
        numbers = {
            "scores/" + path.replace(".", "/"): float(value)
            for path, value in flatten(scores).items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }
        self.each(lambda tracker: tracker.numbers(step, numbers))

    def close(self) -> None:
        self.each(lambda tracker: tracker.close())


def track_scores(
    run: RunDirectory, track: str | Sequence[str] | None, step: int, scores: dict[str, Any]
) -> None:
    """Add scores to the trackers of a run that was trained before."""
    if tracker_names(track):
        with Tracking.of(track, run, step) as tracking:
            tracking.scores(step, scores)


@torch.no_grad()
def samples_of(config: TrainConfig, state: TrainState) -> Tensor:
    """Chains of the bank; without one, at most 64 of the averaged weights from a ladder of noise
    levels, or from noise as many steps as an iteration takes. The streams of training are left
    alone.
    """
    if len(state.bank.positions):
        return state.bank.positions[:CHAINS].float()
    require(state.world.size == 1, "without a bank they would have to be drawn by all processes")
    generator = stream(config.seed, "tracked samples", state.step, device=state.world.device)
    levels, chains = level_energy(state.average), config.objective.contrastive
    if levels is not None:
        return from_the_ladder(config, levels, SHOWN, generator)
    require(chains is not None, f"objective {kind_of(config.objective)!r} runs no chains")
    assert chains is not None
    sampler = with_step_size(config.sampler, state.step_size * state.slowdown)
    potential = potential_for(sampler, config.potential(state.average))
    x0, steps = state.noise.draw(SHOWN, generator), chains.chain_steps_at(state.step, config.steps)
    return run_chains(sampler, potential, x0, steps, generator=generator).x


def grid_of(x: Tensor, columns: int = 8) -> np.ndarray:
    """Images (N, C, H, W) in [-1, 1] in rows of eight, as uint8 (H', W', 3)."""
    v = to_bytes(x.nan_to_num(0.0)).cpu()
    v = v.expand(-1, 3, -1, -1) if v.shape[1] == 1 else v[:, :3]
    n, channels, height, width = v.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    sheet = v.new_full((rows * columns, channels, height, width), 255)
    sheet[:n] = v
    sheet = sheet.view(rows, columns, channels, height, width).permute(0, 3, 1, 4, 2)
    return sheet.reshape(rows * height, columns * width, channels).numpy()


def counted(x: Tensor) -> np.ndarray:
    """How many of the points (N, 2) lie in each of 128 × 128 cells, as shades of grey, dark where
    many do; y grows upwards. Uint8 (128, 128, 3).
    """
    low, high = (x.double().quantile(q, dim=0) for q in (0.005, 0.995))
    spread = (high - low).clamp(min=1e-300)
    cell = ((x.double() - low + 0.1 * spread) / (1.2 * spread) * CELLS).floor().long()
    inside = ((cell >= 0) & (cell < CELLS)).all(1)
    index = cell[inside, 1] * CELLS + cell[inside, 0]
    counts = torch.bincount(index, minlength=CELLS**2).view(CELLS, CELLS).flip(0).double()
    shade = 255 * (1 - (counts / counts.max().clamp(min=1)).sqrt())
    return shade.to(torch.uint8)[:, :, None].expand(-1, -1, 3).numpy()
