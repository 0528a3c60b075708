"""What all specs have in common, and the real data where they are at hand."""

from __future__ import annotations

import dataclasses
import os
import typing
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field, TypeAdapter

from stanley import data
from stanley.data import CIFAR10, MNIST, AnyData, Flowers102, Moons, Rings

SPECS = typing.get_args(AnyData)
REAL = os.environ.get("STANLEY_DATA")
needs_real = pytest.mark.skipif(
    not REAL, reason="STANLEY_DATA names no folder of official data sets"
)


def test_every_name_is_there() -> None:
    assert sorted(data.__all__) == sorted(set(data.__all__))
    for name in data.__all__:
        assert hasattr(data, name)


@pytest.mark.parametrize("spec", SPECS)
def test_specs_are_frozen_and_named_by_kind(spec: type) -> None:
    fields = dataclasses.fields(spec)
    assert fields[-1].name == "kind"
    assert fields[-1].default == spec.__name__.lower()
    made = spec()
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.kind = "other"
    assert dataclasses.replace(made) == made


def test_kind_tells_the_specs_apart() -> None:
    adapter = TypeAdapter(Annotated[AnyData, Field(discriminator="kind")])
    for spec in SPECS:
        made = spec()
        assert adapter.validate_python(adapter.dump_python(made)) == made
        assert adapter.validate_json(adapter.dump_json(made)) == made
    assert adapter.validate_python({"kind": "rings", "radii": [1, 2]}) == Rings(radii=(1.0, 2.0))
    assert adapter.validate_python({"kind": "moons", "std": 0.2}) == Moons(std=0.2)


@needs_real
def test_real_cifar10() -> None:
    # published means and standard deviations of the training set, in units of 1/255, to their
    # digits
    loaded = CIFAR10(root=REAL).load()
    x = loaded.train.float() / 255
    assert x.shape == (50_000, 3, 32, 32)
    assert len(loaded.test) == 10_000
    assert x.mean((0, 2, 3)).tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=1e-4)
    assert x.std((0, 2, 3)).tolist() == pytest.approx([0.2470, 0.2435, 0.2616], abs=1e-4)


@needs_real
def test_real_mnist() -> None:
    loaded = MNIST(root=REAL).load()
    x = loaded.train.float() / 255
    assert x.shape == (60_000, 1, 28, 28)
    assert len(loaded.test) == 10_000
    assert (float(x.mean()), float(x.std())) == pytest.approx((0.1307, 0.3081), abs=1e-4)


@needs_real
def test_real_flowers102() -> None:
    if not (Path(REAL or "") / "flowers-102").is_dir():
        pytest.skip("STANLEY_DATA holds no flowers-102")
    loaded = Flowers102(root=REAL).load()
    assert loaded.event_shape == (3, 32, 32)
    assert len(loaded.train) <= 1020 + 6149
    assert len(loaded.test) <= 1020
