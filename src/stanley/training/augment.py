"""Chain augmentation: states of the bank are transformed at random when chains start from them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from stanley.data.base import Dataset
from stanley.errors import require


@dataclass(frozen=True)
class Augment:
    """x₀ ← colour(zoom(shift(flip(x₀)))) for a random share `chance` of the chains that start.

    flip     mirrored left to right with probability ½
    shift    moved by a whole number of pixels, uniform in -shift … shift in each direction; the
             border is repeated
    zoom     a square of side a·H, a ~ U[1 - zoom, 1], placed uniformly, is stretched to the whole
             image (bilinear)
    colour   RGB only, κ = `colour`: g + s·(x - g), m + c·(x - m), x + b with g the grey of each
             pixel, m the mean of the image, s, c ~ U[1 - κ, 1 + κ] and b ~ U[-κ, κ], in units of
             [-1, 1]
    chance   share of the chains that are transformed; the others stay as they are, bit for bit

    Each chain draws its own transformation, which carries it to where its small steps would take
    long; K steps of the sampler follow. Chains that restart from noise are not transformed.
    Not true: that it leaves the law of the sampler invariant. What the K steps do not undo is a
    bias towards transformed images, so choose transformations under which the data look the same.
    Du, Li, Tenenbaum & Mordatch (2021), "Improved contrastive divergence", section 3.2.
    """

    flip: bool = False  # mirror at random
    shift: int = 0  # largest shift, in pixels
    zoom: float = 0.0  # largest share that is cut off before stretching
    colour: float = 0.0  # largest change of colour; 0 for none
    chance: float = 1.0  # share of the chains that is transformed

    def __post_init__(self) -> None:
        require(
            self.shift >= 0,
            f"objective.augment.shift is {self.shift}, but must be at least 0; it is a number of"
            " pixels",
        )
        for name in ("zoom", "colour"):
            value = getattr(self, name)
            require(
                0 <= value < 1,
                f"objective.augment.{name} is {value}, but must lie in [0, 1); try 0.1",
            )
        require(
            0 < self.chance <= 1,
            f"objective.augment.chance is {self.chance}, but must lie in (0, 1]; use"
            " objective.augment null for none",
        )
        require(
            self.flip or self.shift > 0 or self.zoom > 0 or self.colour > 0,
            "objective.augment has nothing switched on; set its flip, shift, zoom or colour, or use"
            " objective.augment null",
        )

    def check(self, data: Dataset) -> None:
        """Raise StanleyError for data that these transformations cannot be applied to."""
        shape = data.event_shape
        require(
            len(shape) == 3,
            f"objective.augment transforms images (C, H, W), but the data are points of shape"
            f" {shape}; use objective.augment null",
        )
        require(
            not self.flip or data.flip,
            "objective.augment.flip is set, but these data have no mirrored images: their flip is"
            " off; use objective.augment.flip false",
        )
        channels, height, width = shape
        limit = min(height, width) // 2
        require(
            self.shift <= limit,
            f"objective.augment.shift is {self.shift}, but must be at most {limit}, half the image",
        )
        require(
            self.colour == 0 or channels == 3,
            f"objective.augment.colour is {self.colour}, but the images have {channels} channel(s),"
            " not 3; use objective.augment.colour 0",
        )

    # (B, C, H, W) -> (B, C, H, W)
    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Random numbers are drawn for chance, flip, shift, zoom and colour, in this order, and
        only for what is switched on.
        """

        def uniform(*shape: int) -> Tensor:
            return torch.rand((len(x), *shape), generator=generator, device=x.device, dtype=x.dtype)

        chosen = uniform(1, 1, 1) < self.chance
        y = x
        if self.flip:
            y = torch.where(uniform(1, 1, 1) < 0.5, y.flip(-1), y)
        if self.shift > 0:
            span = 2 * self.shift + 1
            offsets = (
                torch.randint(span, (len(x), 2), generator=generator, device=x.device) - self.shift
            )
            y = shifted(y, offsets)
        if self.zoom > 0:
            y = zoomed(y, 1 - self.zoom * uniform(), 2 * uniform(2) - 1)
        if self.colour > 0:
            saturation, contrast, brightness = (self.colour * (2 * uniform(3, 1, 1, 1) - 1)).unbind(
                1
            )
            grey = y.mean(1, keepdim=True)
            y = grey + (1 + saturation) * (y - grey)
            mean = y.mean((1, 2, 3), keepdim=True)
            y = mean + (1 + contrast) * (y - mean) + brightness
        return torch.where(chosen, y, x)


def shifted(x: Tensor, offsets: Tensor) -> Tensor:
    """x'[i, j] = x[i - dy, j - dx], (dy, dx) = `offsets` (B, 2), with the border repeated."""
    for axis, offset in ((-2, offsets[:, 0]), (-1, offsets[:, 1])):
        size = x.shape[axis]
        pixels = torch.arange(size, device=x.device)
        source = (pixels - offset[:, None]).clamp(0, size - 1)  # (B, size)
        index = source[:, None, :, None] if axis == -2 else source[:, None, None, :]
        x = x.gather(axis, index.expand_as(x))
    return x


def zoomed(x: Tensor, side: Tensor, position: Tensor) -> Tensor:
    """A square of each image, stretched to the whole image.

    Its side is a·H with a = `side` (B,), its centre (1 - a)·`position` with `position` (B, 2) in
    [-1, 1]².
    """
    window = torch.diag_embed(side[:, None].expand(-1, 2))  # (B, 2, 2)
    centre = (1 - side[:, None]) * position
    grid = functional.affine_grid(
        torch.cat([window, centre[:, :, None]], 2), list(x.shape), align_corners=False
    )
    return functional.grid_sample(
        x, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
