"""What every data set hands over, how a batch is drawn, and the maps between bytes and points in [-1, 1].

A data set is a frozen spec (`Rings(...)`, `CIFAR10(root=...)`) whose `load()` returns a `Dataset`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from stanley.errors import require
from stanley.streams import data_stream


@dataclass(frozen=True)
class Dataset:
    """One copy of the data: images stay uint8, vectors are float32.

    train, test   (N, *event): uint8 (N, C, H, W) images, or float32 (N, d) vectors; may be memory maps.
    flip          whether a mirrored image is as likely as the image itself.
    log_density   exact log p(x), (B, d) -> (B,), where the law of the data is known.
    modes         (M, d) centres of the modes and `mode_radius`, where the law has some.
    streamed      rows are read from a memory-mapped file as they are drawn, and stay there.
    """

    train: Tensor
    test: Tensor
    flip: bool = False
    log_density: Callable[[Tensor], Tensor] | None = None
    modes: Tensor | None = None
    mode_radius: float = 0.0
    streamed: bool = False

    @property
    def event_shape(self) -> tuple[int, ...]:
        return tuple(self.train.shape[1:])

    @property
    def is_image(self) -> bool:
        return self.train.dtype == torch.uint8


def dequantise(images: Tensor, generator: torch.Generator) -> Tensor:
    """x = 2·(v + u)/256 - 1 with u ~ U[0, 1): bytes v in 0..255 to points spread over [-1, 1).

    In float32 v + u is rounded to steps of 2^-16, so that the upper end of a cell, and x = 1, can occur.
    """
    u = torch.rand(images.shape, generator=generator, device=images.device)
    return (images + u) / 128 - 1


def centre(images: Tensor) -> Tensor:
    """x = 2·(v + ½)/256 - 1: the centre of each byte's cell, without noise."""
    return (images.float() + 0.5) / 128 - 1


def to_bytes(x: Tensor) -> Tensor:
    """v = ⌊128·(x + 1)⌋, the byte whose cell holds x; points outside [-1, 1) get the border's byte.

    Left inverse of `centre`. For pictures only: a saturated point is no longer told from the border.
    """
    return ((x + 1) * 128).floor().clamp(0, 255).to(torch.uint8)


def positive_batch(
    data: Tensor,
    batch: int,
    generator: torch.Generator,
    *,
    flip: bool = False,
    noise_std: float = 0.0,
    device: torch.device | str | None = None,
) -> Tensor:
    """x_pos: `batch` rows drawn uniformly with replacement, on the generator's device.

    uint8 images are mirrored left to right with probability ½ each where `flip`, then dequantised; then
    x + noise_std·ξ, ξ ~ N(0, I). Draws come in the order: rows, mirrors, dequantisation, noise.
    Nothing waits for the device, unless `data` lives elsewhere (a memory map): then the indices travel to it.
    `device`, if given, only states which device is expected: another than the generator's is an error.
    """
    place = generator.device
    if device is not None:
        wanted = torch.device(device)
        same = wanted.type == place.type and wanted.index in (None, place.index)
        require(same, f"device is {wanted}, but the generator lives on {place}; make the generator on {wanted}")
    rows = torch.randint(len(data), (batch,), generator=generator, device=place)
    x = data[rows.to(data.device)].to(place)
    if x.dtype == torch.uint8:
        if flip:
            mirrored = torch.rand((batch, 1, 1, 1), generator=generator, device=place) < 0.5
            x = torch.where(mirrored, x.flip(-1), x)
        x = dequantise(x, generator)
    else:
        require(not flip, f"flip is set, but the data are {data.dtype} vectors; use it for uint8 images only")
    if noise_std > 0:
        x = x + noise_std * torch.randn(x.shape, generator=generator, device=place, dtype=x.dtype)
    return x


def require_variety(images: Tensor, source: str) -> None:
    """Refuse images that are all the same; looks no further than the first that differs."""
    varied = any(bool((part != images[0]).any()) for part in images.split(256))
    require(varied, f"{source} has the same image {len(images)} times: nothing to learn from")


def class_labels(labels: Tensor, source: str, classes: int = 10) -> Tensor:
    """The labels as int64, each of them one of 0..classes-1."""
    labels = labels.long()
    wrong = labels[(labels < 0) | (labels >= classes)]
    require(
        len(wrong) == 0,
        f"{source} has label {int(wrong[0]) if len(wrong) else 0}, must lie in 0..{classes - 1}; "
        "delete it and fetch it again",
    )
    return labels


def of_class(rows: Tensor, labels: Tensor, label: int, source: str) -> Tensor:
    """The rows (images, or labels themselves) whose label this is, in their order; at least two of them."""
    require(
        len(rows) == len(labels),
        f"{source} holds {len(rows)} images and {len(labels)} labels; delete it and fetch it again",
    )
    chosen = rows[labels == label]
    require(
        len(chosen) >= 2,
        f"data.label is {label}, and {source} holds {len(chosen)} images of that class, must be 2 or more; "
        f"its labels are {', '.join(str(k) for k in labels.unique().tolist()[:12])} …",
    )
    return chosen


def require_seed(seed: int) -> None:
    require(0 <= seed < 2**63, f"data.seed is {seed}, must lie in [0, 2^63); use 0")


def held_out_order(n: int, held_out: float, seed: int, source: str) -> tuple[Tensor, int]:
    """A seeded permutation of n rows and the number of them, from its start, to train on.

    ⌈held_out·n⌉ rows at its end are for testing; at least two must remain to train on.
    """
    require_seed(seed)
    require(0 < held_out < 1, f"data.held_out is {held_out}, must lie between 0 and 1; use 0.1")
    num_train = n - math.ceil(held_out * n)
    require(
        num_train >= 2,
        f"{source} has {n} rows, of which data.held_out = {held_out} leaves {num_train} to train on, "
        "must be 2 or more; add data or lower data.held_out",
    )
    return torch.randperm(n, generator=data_stream(seed)), num_train


def first_rows(train: Tensor, limit: int | None, source: str) -> Tensor:
    """The first `limit` rows of a permutation that is always the same; None keeps all rows in their order."""
    if limit is None:
        return train
    require(
        1 <= limit <= len(train),
        f"data.limit is {limit}, must be 1 to {len(train)}, the training images in {source}; or leave it out",
    )
    return train[torch.randperm(len(train), generator=data_stream(0))[:limit]]
