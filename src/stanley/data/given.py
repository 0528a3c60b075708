"""Data of the user's own: tensors, arrays, torch data sets, and iterables that are read as training
goes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import IterableDataset, TensorDataset

from stanley.data.base import Dataset, held_out_order, standardised
from stanley.errors import StanleyError, in_one_line, require
from stanley.own_code import GivenInPython, NamedByUser

HELD_OUT = 0.1  # share of the rows that are held out where no split is given
HEAD = 2_048  # rows of an iterable from which mean and spread are taken
CURE = "leave them out, or pass standardise=False (--data.standardise false)"
KINDS = (
    "a tensor, an array, a torch Dataset, an iterable such as a DataLoader, or a "
    "stanley.Dataset(train, test)"
)


@dataclass(frozen=True)
class GivenData(GivenInPython):
    """Data that were an object in Python, and have to be handed over again.

    rows         of training and testing together; None for an iterable
    fingerprint  of their values; None for an iterable
    standardise  whether they were standardised
    """

    class_: str
    rows: int | None
    event_shape: tuple[int, ...]
    fingerprint: str | None
    standardise: bool = True
    kind: Literal["given"] = "given"

    part: ClassVar[str] = "data"
    handed: ClassVar[str] = "data=…"

    @property
    def about(self) -> str:
        rows = "an iterable" if self.rows is None else f"{self.rows:,} rows"
        return f" ({rows} of shape {self.event_shape})"

    def load(self) -> Dataset:
        raise StanleyError(self.why_not)


@dataclass(frozen=True)
class NamedData(NamedByUser):
    """Data that come from what was named on the command line, `module:Name` or `file.py:Name`."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    checksum: str | None = None
    standardise: bool = True
    kind: Literal["by-name"] = "by-name"

    part: ClassVar[str] = "data"
    handed: ClassVar[str] = "data=…"

    def load(self) -> Dataset:
        raise StanleyError(self.why_not)


def described(given: Any, rows: Dataset, data: Dataset, spec: Any = None) -> GivenData | NamedData:
    """The data as a configuration holds them: `rows` as they came, `data` as they are trained on;
    `spec` what stands for them already, if anything does.
    """
    standardise = data.standardisation is not None
    if isinstance(spec, NamedData):
        return replace(spec, standardise=standardise)
    name = type(given).__qualname__
    if rows.stream is not None:
        return GivenData(name, None, rows.event_shape, None, standardise)
    number = len(rows.train) + len(rows.test)
    return GivenData(name, number, rows.event_shape, fingerprint(rows, standardise), standardise)


def fingerprint(data: Dataset, wide: bool) -> str:
    """16 digits of BLAKE2b of both parts' types, shapes and values; of what is too large for memory
    of the first rows. Numbers are taken in float64 if `wide`, else in float32.
    """
    digest = hashlib.blake2b(digest_size=8)
    number = torch.float64 if wide else torch.float32
    for rows in (data.train, data.test):
        kind = number if rows.is_floating_point() else rows.dtype
        digest.update(f"{kind} {tuple(rows.shape)}".encode())
        shown = rows[:1_000] if data.streamed else rows
        for part in shown.split(100_000):
            part = part.to(kind).contiguous().cpu()
            digest.update(part.view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def for_training(data: Dataset, name: str, standardise: bool | None) -> Dataset:
    """Rows as they came as training sees them: vectors (N, d) that were split here standardised,
    unless `standardise` is False. Raises StanleyError where it is True and they stay as they are.
    """
    require(
        data.raw or not standardise,
        f"standardise is True, but the data ({name}) are images, an iterable, a stanley.Dataset, or"
        f" points of shape {data.event_shape}, which stay as they are; leave it out",
    )
    if not data.raw:
        return data
    data = replace(data, raw=False)
    if standardise is None or standardise:
        return standardised(data, f"the data ({name})", CURE)
    largest = max(float(rows.abs().max()) for rows in (data.train, data.test))
    require(
        largest <= torch.finfo(torch.float32).max,
        f"the data ({name}) have values up to {largest:.2g}, which are infinite in float32; rescale"
        " them to about 1, or leave standardise out",
    )
    return replace(data, train=data.train.float(), test=data.test.float())


def dataset_of(given: Any) -> Dataset:
    """What a user hands over as data, as a `Dataset`; raises StanleyError for what is none.

    stanley.Dataset           as it is
    a spec with load()        what it loads
    tensor, array, lists      rows (N, *event), of which a tenth, in an order that depends on N
                              alone, is held out; vectors (N, d) as they came, in their own type
    torch Dataset             likewise: all its items are read once; of an item (x, label) x
    an iterable of batches    rows (b, *event), or (rows, labels), read as training goes; begun anew
                              where it ends. Nothing is held out.

    Bytes (N, C, H, W), (N, H, W) are images; all else but vectors becomes float32.
    """
    name = type(given).__qualname__
    if isinstance(given, Dataset):
        return checked(given, name)
    if callable(getattr(given, "load", None)) and not isinstance(given, type):
        loaded = given.load()
        require(
            isinstance(loaded, Dataset),
            f"{name}.load() returned a {type(loaded).__name__}, but must return a stanley.Dataset",
        )
        return checked(loaded, name)
    if isinstance(given, Tensor | np.ndarray | list | tuple):
        return split(as_rows(given, name), name)
    if isinstance(given, TensorDataset):
        return split(as_rows(given.tensors[0], name), name)
    if isinstance(given, TorchDataset) and not isinstance(given, IterableDataset):
        return split(as_rows(items_of(given, name), name), name)
    require(
        hasattr(given, "__iter__") and not isinstance(given, str | bytes | Mapping | type),
        f"data are a {name}, but must be {KINDS}",
    )
    stream = Stream(given, name)
    head = stream.head(HEAD)
    return Dataset(head, head[:0], stream=stream)


def split(rows: Tensor, name: str) -> Dataset:
    require(len(rows) > 0, f"the data ({name}) are empty: shape {tuple(rows.shape)}; give rows")
    order, num_train = held_out_order(len(rows), HELD_OUT, 0, f"the data ({name})")
    rows = rows[order]
    raw = rows.dim() == 2
    data = Dataset(
        rows[:num_train],
        rows[num_train:],
        raw=raw,
        row_name=lambda row: f"row {int(order[row])} of the data ({name})",
    )
    return checked(data, name, order)


def checked(data: Dataset, name: str, order: Tensor | None = None) -> Dataset:
    """The data themselves; `order` says which row of the user's each of them is."""
    require(len(data.train) > 0, f"the data ({name}) are empty; give rows to train on")
    both = (("train", data.train, 0), ("test", data.test, len(data.train)))
    for part, rows, first in both:
        require(
            rows.dtype in (torch.uint8, torch.float32) or data.raw,
            f"the data ({name}) have {part} of {rows.dtype}, but must be float32, or uint8 images",
        )
        require(
            rows.shape[1:] == data.event_shape,
            f"the data ({name}) have points of shape {data.event_shape} in train and "
            f"{tuple(rows.shape[1:])} in test; give both the same",
        )
        if rows.is_floating_point() and not data.streamed:
            at = first_nonfinite(rows)
            row = at if order is None or at is None else int(order[first + at])
            where = f"row {row}" + (f" of {part}" if order is None else "")
            require(
                at is None,
                f"the data ({name}) have NaN or infinite values in {where}; remove them",
            )
    require(
        len(data.event_shape) > 0 and 0 not in data.event_shape,
        f"the data ({name}) have shape {tuple(data.train.shape)}, but must be (N, *event); reshape "
        "numbers to (N, 1)",
    )
    same = len(data.train) > 1 and all(
        bool((part == data.train[0]).all()) for part in data.train.split(4096)
    )
    require(
        not same,
        f"the data ({name}) are the same row {len(data.train)} times, so nothing can be learned; "
        "use other data",
    )
    return data


def first_nonfinite(rows: Tensor) -> int | None:
    """The first row that holds NaN or an infinity."""
    bad = ~rows.flatten(1).isfinite().all(1) if rows.numel() else torch.zeros(0, dtype=torch.bool)
    return int(bad.int().argmax()) if bool(bad.any()) else None


def as_rows(value: Any, name: str) -> Tensor:
    """A tensor of rows (N, *event) on the CPU: vectors in float64 where they came in more than
    float32, other points in float32, images in bytes.
    """
    try:
        if isinstance(value, list | tuple):
            several = len(value) and isinstance(value[0], Tensor)
            value = torch.stack(list(value)) if several else np.asarray(value)
        rows = torch.as_tensor(value).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise StanleyError(
            f"the data ({name}) are no numbers of one shape ({in_one_line(error)}); give {KINDS}"
        ) from error
    require(
        rows.dim() >= 2,
        f"the data ({name}) have shape {tuple(rows.shape)}, but must be (N, *event); reshape "
        "numbers to (N, 1)",
    )
    require(
        not rows.is_complex() and rows.dtype != torch.bool,
        f"the data ({name}) are {rows.dtype}, but must be real numbers; convert them",
    )
    if rows.dtype == torch.uint8 and rows.dim() in (3, 4):
        return images_of(rows, name)
    narrow = rows.dim() > 2 or (rows.is_floating_point() and rows.dtype.itemsize <= 4)
    return rows.to(torch.float32 if narrow else torch.float64).contiguous()


def images_of(rows: Tensor, name: str) -> Tensor:  # (N, C, H, W)
    if rows.dim() == 3:
        return rows[:, None].contiguous()
    first, last = rows.shape[1] in (1, 3), rows.shape[3] in (1, 3)
    require(
        first != last,
        f"the data ({name}) are bytes of shape {tuple(rows.shape)}, but images must be (N, H, W), "
        "(N, C, H, W) or (N, H, W, C) with C = 1 or 3; for other points convert to float32",
    )
    return (rows if first else rows.permute(0, 3, 1, 2)).contiguous()


def items_of(given: TorchDataset[Any], name: str) -> Tensor:
    """All points of a torch data set, which must be as long as it says."""
    length = getattr(given, "__len__", None)
    require(
        length is not None,
        f"the data ({name}) have no length; give a torch Dataset with __len__, or an iterable",
    )
    assert length is not None
    num = int(length())
    require(num > 0, f"the data ({name}) are empty: their length is 0; give rows")
    points: list[Tensor] = []
    for k in range(num):
        try:
            point = point_of(given[k])
        except StanleyError:
            raise
        except (Exception, SystemExit) as error:
            raise StanleyError(
                f"the data ({name}) say that they have {num} items, but item {k} raised "
                f"{in_one_line(error)}"
            ) from error
        require(
            not points or point.shape == points[0].shape,
            f"the data ({name}) have shape {tuple(point.shape)} in item {k} and "
            f"{tuple(points[0].shape if points else ())} in item 0; bring all to one shape",
        )
        points.append(point)
    require(
        int(length()) == num,
        f"the data ({name}) changed their length from {num} to {length()} while they were read; "
        "hand over data that stay as they are",
    )
    return torch.stack(points)


def point_of(item: Any) -> Tensor:
    """x of an item x or (x, label, …)."""
    value = item[0] if isinstance(item, tuple | list) and len(item) > 0 else item
    require(
        not isinstance(value, Mapping | str),
        f"an item of the data is a {type(value).__name__}, but must be a tensor or (tensor, …)",
    )
    return torch.as_tensor(value)


class Stream:
    """Rows of an iterable of batches, one after another, begun anew where it ends."""

    def __init__(self, source: Any, name: str) -> None:
        self.source, self.name = source, name
        self.batches: Iterator[Any] = self.begin()
        self.waiting: list[Tensor] = []  # rows that were read and not yet given
        self.shape: tuple[int, ...] | None = None
        self.dtype: torch.dtype | None = None
        self.read = 0  # batches of this pass
        self.passes = 0

    @property
    def once(self) -> bool:
        """Whether it can be read only once, as a generator can."""
        return isinstance(self.source, Iterator)

    def begin(self) -> Iterator[Any]:
        try:
            return iter(self.source)
        except (Exception, SystemExit) as error:
            raise StanleyError(
                f"the data ({self.name}) cannot be iterated: {in_one_line(error)}"
            ) from error

    def next_rows(self) -> Tensor | None:
        """The rows of the next batch, None at the end of a pass."""
        try:
            batch = next(self.batches)
        except StopIteration:
            again = self.passes > 0
            require(
                self.read > 0,
                f"the data ({self.name}) are empty: the iterable gives no batch"
                + (" when it is begun again, as a generator does; give a DataLoader" * again),
            )
            self.read, self.passes = 0, self.passes + 1
            self.batches = self.begin()
            return None
        except StanleyError:
            raise
        except (Exception, SystemExit) as error:
            raise StanleyError(
                f"the data ({self.name}) raised {in_one_line(error)} in batch {self.read}"
            ) from error
        what = f"{self.name}, batch {self.read}"
        rows = as_rows(point_of(batch), what)
        rows = rows if rows.dtype == torch.uint8 else rows.float()
        self.read += 1
        self.shape = self.shape or tuple(rows.shape[1:])
        self.dtype = self.dtype or rows.dtype
        require(
            tuple(rows.shape[1:]) == self.shape and rows.dtype == self.dtype,
            f"the data ({what}) have points of {rows.dtype} {tuple(rows.shape[1:])}, but those "
            f"before had {self.dtype} {self.shape}; bring all to one shape",
        )
        at = None if rows.dtype == torch.uint8 else first_nonfinite(rows)
        require(
            at is None,
            f"the data ({what}) have NaN or infinite values in row {at}; remove them",
        )
        return rows

    def head(self, num: int) -> Tensor:
        """The first rows, `num` or those of one pass, which are given again by `take`."""
        while sum(map(len, self.waiting)) < num:
            rows = self.next_rows()
            if rows is None:
                break
            self.waiting.append(rows)
        return torch.cat(self.waiting)

    def take(self, num: int) -> Tensor:
        """The next `num` rows (num, *event)."""
        while sum(map(len, self.waiting)) < num:
            rows = self.next_rows()
            self.waiting += [] if rows is None else [rows]
        rows = torch.cat(self.waiting)
        self.waiting = [rows[num:]] if len(rows) > num else []
        return rows[:num]
