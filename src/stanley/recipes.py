"""Named configurations: values, to be read, copied and changed. Each is a row of docs/results.md."""

from __future__ import annotations

from dataclasses import replace

from stanley.data import CIFAR10, GMM, MNIST, Array, Flowers102, Folder, Moons, Rings
from stanley.errors import StanleyError, did_you_mean
from stanley.networks import MLP, ConvNet, ResNet
from stanley.optim import Adam
from stanley.samplers import MALA, Langevin, RobbinsMonro
from stanley.train import TrainConfig

RINGS = TrainConfig(
    data=Rings(),
    network=MLP(width=128, depth=2),
    sampler=MALA(step_size=0.09),
    optimizer=Adam(lr=2e-3),
    steps=6_000,
    batch=512,
    chain_steps=20,
    bank_size=5_000,
    decay=0.7,
    ema=0.995,
    adapt=RobbinsMonro(),
    gap_limit=50.0,
    save_every=500,
)
"""Four rings in the plane with their exact density."""

GMM_RECIPE = replace(RINGS, data=GMM())
MOONS = replace(RINGS, data=Moons())

IMAGES = TrainConfig(
    data=CIFAR10(),
    network=ConvNet(width=32),
    sampler=Langevin(step_size=0.01**2),
)

RECIPES: dict[str, TrainConfig] = {
    "rings": RINGS,
    "gmm": GMM_RECIPE,
    "moons": MOONS,
}


def recipe(name: str) -> TrainConfig:
    """The named configuration; raises StanleyError with the nearest name for an unknown one."""
    if name not in RECIPES:
        raise StanleyError(f"unknown recipe {name!r}: {did_you_mean(name, RECIPES)}")
    return RECIPES[name]
