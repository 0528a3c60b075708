"""Data sets: frozen specs whose `load()` returns a `Dataset`."""

from __future__ import annotations

from stanley.data.array import Array
from stanley.data.base import Dataset, centre, dequantise, next_batch, positive_batch, to_bytes
from stanley.data.cifar10 import CIFAR10
from stanley.data.flowers102 import Flowers102
from stanley.data.folder import Folder
from stanley.data.given import GivenData, NamedData
from stanley.data.mnist import MNIST
from stanley.data.toy2d import GMM, Moons, Rings

#: What a configuration can name.
AnyData = Rings | GMM | Moons | CIFAR10 | Flowers102 | MNIST | Folder | Array

#: What stands for a user's own in a configuration.
OwnData = GivenData | NamedData

__all__ = [
    "CIFAR10",
    "GMM",
    "MNIST",
    "AnyData",
    "Array",
    "Dataset",
    "Flowers102",
    "Folder",
    "GivenData",
    "Moons",
    "NamedData",
    "OwnData",
    "Rings",
    "centre",
    "dequantise",
    "next_batch",
    "positive_batch",
    "to_bytes",
]
