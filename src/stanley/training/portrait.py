"""What a terminal shows of an energy while it is trained: a few pixels of what it knows so far.

Nothing here changes the run: no stream of it is drawn from, and no weight is written.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from stanley.data import Dataset, centre, to_bytes
from stanley.errors import StanleyError
from stanley.metrics import density_on_grid, half_side
from stanley.networks.levels import LevelEnergy, level_energy
from stanley.progress import room_for_pictures, terminal
from stanley.streams import stream
from stanley.training.config import TrainConfig
from stanley.training.state import TrainState
from stanley.uses.denoising import posterior_mean

SIDE = 32  # pixels of a panel in the plane, and at most those of an image
GAP = 2
LINES = 8  # of the terminal, which are left for other words
NOISE = 1.0  # of the images that are restored, in units of the data's own spread
#: Colours from the least to the greatest density: those of viridis, at equal distances.
VIRIDIS = np.array(
    [
        (68, 1, 84),
        (71, 44, 122),
        (59, 81, 139),
        (44, 113, 142),
        (33, 144, 141),
        (39, 173, 129),
        (92, 200, 99),
        (170, 220, 50),
        (253, 231, 37),
    ]
)


def portrait_of(
    config: TrainConfig, state: TrainState, data: Dataset
) -> InThePlane | BankOfImages | RestoredImages | None:
    """A picture that fits the data and the terminal, of weights that are no shards; None where
    there is nothing to see: vectors above the plane, a flow, or a terminal without room.
    """
    room = room_for_pictures(terminal())
    if room is None or config.objective.kind == "flow-matching":
        return None
    columns, lines = room
    if data.event_shape == (2,):
        return InThePlane(config, state, data, columns)
    if not data.is_image:
        return None
    levels = level_energy(state.average)
    height = min(data.event_shape[-2], SIDE)
    if height / 2 > lines - LINES:
        return None
    if len(state.bank.positions):
        return BankOfImages(state, columns)
    return None if levels is None else RestoredImages(config, state, data, levels, columns)


class InThePlane:
    """The data, the model's density and, where there is room, the bank; bright where there is
    much, each from nothing to its own peak, by the square root of the density.
    """

    def __init__(self, config: TrainConfig, state: TrainState, data: Dataset, columns: int) -> None:
        self.config, self.state = config, state
        self.box = half_side(data.train)
        self.data = self.counted(data.train)
        self.with_bank = bool(len(state.bank.positions)) and columns >= 3 * SIDE + 2 * GAP
        names = ("data", "model", *(("bank",) if self.with_bank else ()))
        self.title = "".join(name.ljust(SIDE + GAP) for name in names)

    def pixels(self) -> np.ndarray | None:
        try:
            potential = self.config.potential(self.state.average)
            density = density_on_grid(potential, self.box, SIDE).flip(0)
        except StanleyError:  # not finite: the watch of the run says so
            return None
        panels = [self.data, density]
        if self.with_bank:
            panels.append(self.counted(self.state.bank.positions))
        return side_by_side([in_colours(panel) for panel in panels])

    def counted(self, points: Tensor) -> Tensor:
        """How many points (N, 2) lie in each of SIDE × SIDE cells; y grows upwards."""
        cell = ((points.double().cpu() + self.box) / (2 * self.box) * SIDE).floor()
        inside = ((cell >= 0) & (cell < SIDE)).all(1)  # NaN is nowhere
        column, row = cell[inside].long().unbind(1)
        counts = torch.bincount(row * SIDE + column, minlength=SIDE**2)
        return counts.view(SIDE, SIDE).flip(0).double()


class BankOfImages:
    """The first images of the bank, as chains have left them."""

    def __init__(self, state: TrainState, columns: int) -> None:
        self.state = state
        width = min(state.noise.mean.shape[-1], SIDE)
        self.num = min(len(state.bank.positions), max(1, (columns + GAP) // (width + GAP)))
        self.title = f"bank, the first {self.num} of {len(state.bank.positions):,} chains"

    def pixels(self) -> np.ndarray:
        return side_by_side(small(self.state.bank.positions[: self.num]))


class RestoredImages:
    """Held-out images with noise, each beside what one gradient of the energy makes of it."""

    def __init__(
        self,
        config: TrainConfig,
        state: TrainState,
        data: Dataset,
        levels: LevelEnergy,
        columns: int,
    ) -> None:
        self.config, self.levels = config, levels
        self.sigma = NOISE * float(levels.std)
        width = min(data.event_shape[-1], SIDE)
        num = max(1, (columns + GAP) // (2 * (width + GAP)))
        x = centre((data.test if len(data.test) else data.train)[:num]).to(state.world.device)
        generator = stream(config.seed, "portrait", device=x.device)
        noise = torch.randn(x.shape, generator=generator, device=x.device)
        self.noisy = x + self.sigma * noise
        self.title = "held-out images with noise, and what the energy makes of them in one step"

    def pixels(self) -> np.ndarray:
        potential = self.config.potential(self.levels.at(self.sigma))
        restored = posterior_mean(potential, self.noisy, self.sigma)
        pairs = zip(small(self.noisy), small(restored.detach()), strict=True)
        return side_by_side([image for pair in pairs for image in pair])


def small(images: Tensor) -> list[np.ndarray]:
    """Images (N, C, H, W) in [-1, 1] as uint8 (h, w, 3), averaged to at most SIDE a side."""
    height, width = images.shape[-2:]
    if max(height, width) > SIDE:
        scale = SIDE / max(height, width)
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        images = interpolate(images.float(), size, mode="area")
    seen = to_bytes(images.nan_to_num(0.0)).cpu()
    colours = seen.expand(-1, 3, -1, -1) if seen.shape[1] == 1 else seen[:, :3]
    return list(colours.permute(0, 2, 3, 1).numpy())


def in_colours(density: Tensor) -> np.ndarray:
    """(n, n) >= 0 to uint8 (n, n, 3)."""
    share = (density / density.max().clamp(min=1e-300)).sqrt().cpu().numpy()
    at = np.linspace(0, 1, len(VIRIDIS))
    channels = [np.interp(share, at, VIRIDIS[:, k]) for k in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)


def side_by_side(panels: list[np.ndarray]) -> np.ndarray:
    """Panels of one height in a row, with black between them."""
    gap = np.zeros((panels[0].shape[0], GAP, 3), np.uint8)
    parts = [part for panel in panels for part in (panel, gap)]
    return np.concatenate(parts[:-1], axis=1)
