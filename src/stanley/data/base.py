"""What a data set is, how a batch is drawn from it, and how bytes become points in [-1, 1].

A data set is a frozen spec (`Rings(...)`, `CIFAR10(root=...)`) whose `load()` returns a `Dataset`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from stanley.data.standardisation import BY_FLAG, Standardisation, standardisation_of
from stanley.errors import require
from stanley.streams import data_stream


class Rows(Protocol):
    """Rows of data that come in an order of their own."""

    def take(self, num: int) -> Tensor: ...  # (num, *event)


@dataclass(frozen=True)
class Dataset:
    """Data to train on and to test on: images as uint8, vectors as float32.

    train, test   (N, *event): images uint8 (N, C, H, W), or vectors float32 (N, d); memory maps too
    flip          whether a mirrored image is as likely as the image itself
    log_density   the exact log p(x), (B, d) -> (B,), where the law of the data is known
    modes         the centres (M, d) of the law's modes, where it has some
    mode_radius   a point within this distance of a centre belongs to its mode
    streamed      `train` is a file that is too large for memory: rows are read as they are drawn
    stream        where batches come from that are read in turn, of which `train` has the first rows
    columns       names of a vector's coordinates, where they have some
    row_name      what the user calls a row of `train`, such as its line in a file, if that is known
    raw           whether they are vectors as a user handed them over, which are still to become z
                  or float32
    standardisation   how `train` and `test`, which are then z, came from the user's x;
                  `log_density` and `modes` are those of what `train` holds
    """

    train: Tensor
    test: Tensor
    flip: bool = False
    log_density: Callable[[Tensor], Tensor] | None = None
    modes: Tensor | None = None
    mode_radius: float = 0.0
    streamed: bool = False
    stream: Rows | None = None
    standardisation: Standardisation | None = None
    columns: tuple[str, ...] | None = None
    row_name: Callable[[int], str] | None = None
    raw: bool = False

    @property
    def event_shape(self) -> tuple[int, ...]:
        return tuple(self.train.shape[1:])

    @property
    def is_image(self) -> bool:
        return self.train.dtype == torch.uint8

    def with_train_on(self, device: torch.device) -> Dataset:
        """The same data with `train` on the device; where it is streamed it stays in its file."""
        return self if self.streamed else replace(self, train=self.train.to(device))

    def standardised_by(self, other: Standardisation | None) -> Dataset:
        """The same data with another standardisation, that of a model; itself where it has it.

        Raises StanleyError where one of both is standardised and the other is not.
        """
        own = self.standardisation
        if own is other or (own is not None and own.equals(other)):
            return self
        require(
            own is not None and other is not None,
            f"the data are {'not ' if own is None else ''}standardised, those of the model were"
            f"{' not' if other is None else ''}; set data.standardise as it was",
        )
        assert own is not None
        assert other is not None
        train, test = (other.standardise(own.undo(rows)) for rows in (self.train, self.test))
        return replace(self, train=train, test=test, standardisation=other)


def standardised(data: Dataset, source: str, cure: str = BY_FLAG) -> Dataset:
    """Vectors (N, d) with each column less its mean, over its standard deviation, both of the
    training rows, in float32; see `Standardisation`. Images stay as they are.

    A known density goes along: log p_z(z) = log p_x(x) + Σ_i log std_i. Modes are left out, as
    their balls become ellipsoids. Raises StanleyError, with a `cure`, for a constant column.
    """
    if data.is_image:
        return data
    found = standardisation_of(data.train, source, coordinate_names(data), cure)
    return standardised_as(data, found)


def standardised_as(data: Dataset, found: Standardisation) -> Dataset:
    """The same of vectors in their own units, by a standardisation that is known."""
    log_density = data.log_density

    def of_z(z: Tensor) -> Tensor:
        assert log_density is not None
        return log_density(found.undo(z)) + found.log_scale

    return replace(
        data,
        train=found.standardise(data.train),
        test=found.standardise(data.test),
        log_density=None if log_density is None else of_z,
        modes=None,
        mode_radius=0.0,
        standardisation=found,
    )


def coordinate_names(data: Dataset) -> tuple[str, ...]:
    """The columns' names, or their numbers from 0."""
    return data.columns or tuple(map(str, range(data.train.shape[1])))


def dequantise(images: Tensor, generator: torch.Generator) -> Tensor:
    """x = 2·(v + u)/256 - 1, u ~ U[0, 1): bytes v in 0..255 become points spread over [-1, 1).

    In float32 v + u is rounded to steps of 2^-16, so that the upper end of a cell, and x = 1, can
    occur.
    """
    u = torch.rand(images.shape, generator=generator, device=images.device)
    return (images + u) / 128 - 1


def centre(images: Tensor) -> Tensor:
    """x = 2·(v + ½)/256 - 1: the centre of each byte's cell, without noise."""
    return (images.float() + 0.5) / 128 - 1


def to_bytes(x: Tensor) -> Tensor:
    """v = ⌊128·(x + 1)⌋, the byte whose cell holds x; points outside [-1, 1) get the border's byte.

    Left inverse of `centre`. For pictures only: a saturated point is no longer told from the
    border.
    """
    return ((x + 1) * 128).floor().clamp(0, 255).to(torch.uint8)


def next_batch(
    data: Dataset, batch: int, generator: torch.Generator, noise_std: float = 0.0
) -> Tensor:
    """x⁺ (batch, *event) of the data: rows drawn at random, or the next ones of an iterable."""
    if data.stream is None:
        return positive_batch(data.train, batch, generator, flip=data.flip, noise_std=noise_std)
    return as_points(data.stream.take(batch).to(generator.device), generator, data.flip, noise_std)


def positive_batch(
    data: Tensor,
    batch: int,
    generator: torch.Generator,
    *,
    flip: bool = False,
    noise_std: float = 0.0,
    device: torch.device | str | None = None,
) -> Tensor:
    """x⁺ (batch, *event): rows of `data` (N, *event), drawn uniformly with replacement.

    Images (uint8) are mirrored left to right with probability ½ where `flip` is set, and then
    dequantised. Last comes x + noise_std·ξ, ξ ~ N(0, I). Random numbers are drawn in this order:
    rows, mirrors, dequantisation, noise. The batch is on the generator's device; nothing waits for
    it unless `data` are elsewhere, as in a memory map. Raises StanleyError if `device` is given and
    is not the generator's, and if `flip` is set for vectors.
    """
    actual = generator.device
    if device is not None:
        wanted = torch.device(device)
        same = wanted.type == actual.type and wanted.index in (None, actual.index)
        require(
            same,
            f"device is {wanted}, but the generator is on {actual}; create it on {wanted}",
        )
    rows = torch.randint(len(data), (batch,), generator=generator, device=actual)
    return as_points(data[rows.to(data.device)].to(actual), generator, flip, noise_std)


def as_points(x: Tensor, generator: torch.Generator, flip: bool, noise_std: float) -> Tensor:
    """Rows of data (B, *event) as points to train on: see `positive_batch`."""
    actual = generator.device
    if x.dtype == torch.uint8:
        if flip:
            mirrored = torch.rand((len(x), 1, 1, 1), generator=generator, device=actual) < 0.5
            x = torch.where(mirrored, x.flip(-1), x)
        x = dequantise(x, generator)
    else:
        require(
            not flip,
            f"flip is set, but the data are {x.dtype} vectors; set it for uint8 images only",
        )
    if noise_std > 0:
        x = x + noise_std * torch.randn(x.shape, generator=generator, device=actual, dtype=x.dtype)
    return x


def require_variety(images: Tensor, source: str) -> None:
    """Raise StanleyError for images that are all the same."""
    varied = any(bool((part != images[0]).any()) for part in images.split(256))
    require(
        varied,
        f"{source} has the same image {len(images)} times, so nothing can be learned; use other"
        " data",
    )


def class_labels(labels: Tensor, source: str, classes: int = 10) -> Tensor:
    """The labels (N,) as int64; raises StanleyError for one that is not in 0..classes-1."""
    labels = labels.long()
    wrong = labels[(labels < 0) | (labels >= classes)]
    require(
        len(wrong) == 0,
        f"{source} has label {int(wrong[0]) if len(wrong) else 0}, but labels must lie in "
        f"0..{classes - 1}; delete it and download it again",
    )
    return labels


def of_class(rows: Tensor, labels: Tensor, label: int, source: str) -> Tensor:
    """The rows with this label, in their order; raises StanleyError for fewer than two."""
    require(
        len(rows) == len(labels),
        f"{source} holds {len(rows)} images and {len(labels)} labels; delete it and download it"
        " again",
    )
    chosen = rows[labels == label]
    require(
        len(chosen) >= 2,
        f"data.label is {label}, but {source} holds {len(chosen)} images of that class and "
        f"2 are needed; choose from {', '.join(str(k) for k in labels.unique().tolist()[:12])} …",
    )
    return chosen


def require_seed(seed: int) -> None:
    require(0 <= seed < 2**63, f"data.seed is {seed}, but must lie in [0, 2^63); use 0")


def held_out_order(n: int, held_out: float, seed: int, source: str) -> tuple[Tensor, int]:
    """A permutation of n rows, and how many of them, from its start, are for training.

    The ⌈held_out·n⌉ rows at its end are for testing. The permutation depends on the seed alone.
    Raises StanleyError where fewer than two rows remain for training.
    """
    require_seed(seed)
    require(0 < held_out < 1, f"data.held_out is {held_out}, but must lie between 0 and 1; use 0.1")
    num_train = n - math.ceil(held_out * n)
    require(
        num_train >= 2,
        f"{source} has {n} rows, of which data.held_out = {held_out} leaves {num_train} for "
        "training, but 2 are needed; add data or lower data.held_out",
    )
    return torch.randperm(n, generator=data_stream(seed)), num_train


def first_rows(train: Tensor, limit: int | None, source: str) -> Tensor:
    """The first `limit` rows of a fixed permutation; all rows in their order where it is None."""
    if limit is None:
        return train
    require(
        1 <= limit <= len(train),
        f"data.limit is {limit}, but must be 1 to {len(train)}, the number of training images in "
        f"{source}; leave it out to use all",
    )
    return train[torch.randperm(len(train), generator=data_stream(0))[:limit]]
