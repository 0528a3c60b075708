"""Named configurations: values, to be read, copied and changed."""

from __future__ import annotations

from dataclasses import replace

from stanley.data import CIFAR10, GMM, MNIST, Array, Flowers102, Folder, Moons, Rings
from stanley.errors import StanleyError, did_you_mean
from stanley.networks import MLP, ConvNet, LevelConvNet, LevelMLP, ResNet
from stanley.samplers import (
    HMC,
    Adjusted,
    AnySampler,
    ClippedLangevin,
    GradientDescent,
    Langevin,
    MALAWithJumps,
    MatchedLangevin,
    Quantile,
    RandomWalk,
    RobbinsMonro,
    Stanley,
)
from stanley.samplers.traits import is_adjusted
from stanley.training.config import TrainConfig
from stanley.training.objectives import Contrastive, Denoising, WarmStart
from stanley.training.optim import SGD, Adam

# In the plane. A momentum of the gradient (β₁ = 0.9) makes energies swing at rates that are fast:
# without it, twice this rate is still calm. Jumps carry chains between rings or modes, whose shares
# would otherwise follow late and swing.
RINGS = TrainConfig(
    data=Rings(),
    network=MLP(width=64, depth=3),
    sampler=MALAWithJumps(step_size=0.09, jump_std=1.0),
    optimizer=Adam(lr=4e-3, beta1=0.0, beta2=0.99),
    objective=Contrastive(chain_steps=10, bank_size=1_000, adapt=RobbinsMonro(), gap_limit=50.0),
    steps=8_000,
    batch=256,
    decay=1.0,
    ema=0.995,
    on_divergence="rollback",
    save_every=1_000,
)
FOURIER = MLP(width=64, depth=3, fourier=16)
GMM_ = replace(
    RINGS,
    data=GMM(),
    network=FOURIER,
    sampler=MALAWithJumps(step_size=0.16, jump_std=1.5),
)
MOONS = replace(
    RINGS,
    data=Moons(),
    network=FOURIER,
    sampler=MALAWithJumps(step_size=0.04, jump_std=0.7),
    warmup=200,
)
ARRAY_BY_CHAINS = replace(RINGS, data=Array(), objective=replace(RINGS.objective, gap_limit=1000.0))


# The same by a warm start: denoising finds the shape in the first 1,000 iterations, and chains go
# on from there. They start near the density, so that five steps an iteration are enough.
def warm_start(contrastive: TrainConfig) -> TrainConfig:
    """The recipe with an energy that knows noise levels, and its own chains for the second part."""
    assert isinstance(contrastive.objective, Contrastive)
    return replace(
        contrastive,
        network=LevelMLP(width=64, depth=3),
        objective=WarmStart(
            share=0.25,
            denoising=Denoising(level_mean=-2.5, level_std=1.2, level_weight=0.5),
            contrastive=replace(contrastive.objective, chain_steps=5),
        ),
        steps=4_000,
        warmup=100,
    )


# The shares of modes that lie far apart are seen by chains that go over, and by the level score:
# jumps as wide as the data, and the denoising loss to the end. With neither, two blobs of weights
# 0.9 and 0.1 ran away, and eight Gaussians ended with shares that were off
# (docs/results/recipes.md).
def anchored(recipe: TrainConfig) -> TrainConfig:
    """The warm start with denoising to the end, and half of the iterations for it alone."""
    assert isinstance(recipe.objective, WarmStart)
    return replace(recipe, objective=replace(recipe.objective, share=0.5, anchor=1.0))


def of_any_shape(recipe: TrainConfig) -> TrainConfig:
    """The anchored warm start for data of unknown shape and scale."""
    return replace(
        anchored(recipe), sampler=MALAWithJumps(step_size=0.09, jump_std=None), steps=8_000
    )


# Images by denoising: no chain runs in training, and samples come down the ladder of noise levels.
# A weight of 0.001 for the level score makes exp(-E) nearly normalised and costs the pictures
# little; at 0.1 they got worse (docs/denoising.md). Digits are told apart at
# higher noise levels than photographs. The chains after the ladder take steps of a fifth of σ_min².
SMALL = LevelConvNet(width=24, blocks=1)  # for one CPU core
LARGE = LevelConvNet(width=64, blocks=2)  # for a GPU


def denoised(
    data: MNIST | CIFAR10 | Flowers102 | Folder,
    steps: int,
    *,
    network: LevelConvNet = SMALL,
    level_mean: float = -0.25,
    batch: int = 64,
    ema: float = 0.998,
) -> TrainConfig:
    """E(x, σ) of images, for so many iterations."""
    return TrainConfig(
        data=data,
        network=network,
        sampler=Langevin(step_size=1.3e-4),
        optimizer=Adam(lr=2e-3, beta1=0.9, beta2=0.99),
        objective=Denoising(level_mean=level_mean, level_std=1.3, level_weight=0.001),
        steps=steps,
        batch=batch,
        precision="auto",
        warmup=100,
        decay=0.7,
        clip_norm=1.0,
        ema=ema,
        on_divergence="rollback",
    )


# Images by chains: x ← x - ∂E + 0.01·ξ, the update of common image code, is T = ε²/2 and h = ε² for
# ε = 0.01.
EPSILON = 0.01
CIFAR10_ = TrainConfig(
    data=CIFAR10(),
    network=ConvNet(width=32),
    sampler=Langevin(step_size=EPSILON**2),
    temperature=EPSILON**2 / 2,
    optimizer=Adam(lr=1e-4),
    objective=Contrastive(
        chain_steps=20, bank_size=10_000, restart=0.02, energy_l2=0.1, gap_limit=100.0
    ),
    steps=20_000,
    batch=64,
    data_noise=0.03,
    warmup=200,
    clip_norm=1.0,
    on_divergence="rollback",
)
FLOWERS102 = replace(CIFAR10_, data=Flowers102())
MNIST_ = replace(CIFAR10_, data=MNIST(), network=ConvNet(width=16))
FOLDER = replace(
    CIFAR10_,
    data=Folder(),
    network=ResNet(width=32),
    objective=replace(CIFAR10_.objective, bank_size=2_000),
    batch=32,
)

# Images on one CPU core. More noise than is common: with ε = 0.05, half of the data's own 0.1,
# chains from uniform noise find strokes within a hundred steps, after some hundred iterations.
# T is a quarter of ε²/2, so the drift is 4·∂E.
SMALL_EPSILON = 0.05
MNIST_SMALL = TrainConfig(
    data=MNIST(),
    network=ConvNet(width=12),
    sampler=Langevin(step_size=SMALL_EPSILON**2),
    temperature=SMALL_EPSILON**2 / 8,
    optimizer=Adam(lr=1e-3, beta1=0.0),
    objective=Contrastive(
        chain_steps=20, bank_size=2_000, restart=0.05, energy_l2=0.1, gap_limit=10.0
    ),
    steps=2_400,
    batch=32,
    chunk_size=32,
    data_noise=2 * SMALL_EPSILON,
    warmup=50,
    decay=0.5,
    clip_norm=1.0,
    ema=0.995,
    on_divergence="rollback",
    save_every=100,
)
CIFAR10_SMALL = replace(MNIST_SMALL, data=CIFAR10(), network=ConvNet(width=16))

# Convergent learning (Nijkamp, Hill, Han, Zhu & Wu 2020): SGD with a small rate, long chains, and a
# Gaussian reference, which is N(0, 1) for U = E/T: s = 1/√T in the units of E. With Adam the energy
# keeps moving under the chains, and long chains end in saturated images; SGD is slower.
# One run to the end is in docs/results/mnist.md.
MNIST_CONVERGENT = replace(
    MNIST_SMALL,
    optimizer=SGD(lr=0.05),
    objective=replace(MNIST_SMALL.objective, chain_steps=100, restart=0.01, energy_l2=0.0),
    reference_std=MNIST_SMALL.temperature**-0.5,
    decay=0.0,
)


def as_published(
    data: CIFAR10 | Flowers102, lr: float, threshold: float, chain_steps: int
) -> TrainConfig:
    """The draft's setting for images: noise ε = 0.01, th in units of its F, so th_U = 2·th/ε²."""
    return TrainConfig(
        data=data,
        network=ConvNet(width=32, activation="leaky-relu"),
        sampler=Stanley(step_size=EPSILON**2, threshold=2 * threshold / EPSILON**2),
        temperature=EPSILON**2 / 2,
        optimizer=Adam(lr=lr),
        objective=Contrastive(chain_steps=chain_steps),
        steps=100_000,
        batch=100,
        decay=0.0,
    )


#: The rows of the image experiment: th is the median of |∇U|, and h = ε² is the starting point of
#: each step size. HMC's step is a time: one leapfrog step with √h is a MALA step with h.
HALF = Quantile(0.5)
COMPARED: dict[str, AnySampler] = {
    "langevin": Langevin(EPSILON**2),
    "stanley": Stanley(EPSILON**2, HALF),
    "gd": GradientDescent(EPSILON**2),
    "adjusted-stanley": Adjusted(Stanley(EPSILON**2, HALF, scope="sample")),
    "clipped": ClippedLangevin(EPSILON**2, HALF),
    "matched": MatchedLangevin(EPSILON**2, HALF),
    "hmc": HMC(EPSILON, num_leapfrog=10, jitter=False),
    "random-walk": RandomWalk(EPSILON**2),
}


def compared(data: CIFAR10 | Flowers102, sampler: AnySampler) -> TrainConfig:
    """One row of the image experiment, with the draft's network, T, batch, K and iterations.

    What keeps training stable (data noise, restarts, energy L2) is the same in all rows. Each chain
    takes K gradients, with HMC in 5 moves of 10 leapfrog steps; the random walk takes K values of E
    instead. The acceptance steers h where a Metropolis test follows. A divergence is a result.
    """
    return replace(
        CIFAR10_,
        data=data,
        network=ConvNet(width=32, activation="leaky-relu"),
        sampler=sampler,
        objective=replace(
            CIFAR10_.objective,
            chain_steps=50 // sampler.num_leapfrog if isinstance(sampler, HMC) else 50,
            adapt=RobbinsMonro() if is_adjusted(sampler) else None,
        ),
        steps=100_000,
        batch=100,
        on_divergence="stop",
        save_every=5_000,
        keep=21,
    )


RECIPES: dict[str, TrainConfig] = {
    # rings train by chains, which is called -contrastive too, as elsewhere; gmm and moons come out
    # better by a warm start, in less time (docs/results/recipes.md)
    "rings": RINGS,
    "rings-contrastive": RINGS,
    "gmm": anchored(warm_start(GMM_)),
    "gmm-contrastive": GMM_,
    "moons": warm_start(MOONS),
    "moons-contrastive": MOONS,
    "array": of_any_shape(warm_start(ARRAY_BY_CHAINS)),
    "array-contrastive": ARRAY_BY_CHAINS,
    "rings-warm-start": warm_start(RINGS),
    "gmm-warm-start": anchored(warm_start(GMM_)),
    "moons-warm-start": warm_start(MOONS),
    "mnist": denoised(MNIST(), 25_000, level_mean=0.2, ema=0.999),
    "mnist-small": denoised(MNIST(), 5_000, level_mean=0.2),
    "mnist-gpu": denoised(MNIST(), 50_000, network=LARGE, level_mean=0.2, batch=256, ema=0.9995),
    "mnist-contrastive": MNIST_,
    "mnist-small-contrastive": MNIST_SMALL,
    "mnist-convergent": MNIST_CONVERGENT,
    "cifar10": denoised(CIFAR10(), 25_000, ema=0.999),
    "cifar10-small": denoised(CIFAR10(size=16), 10_000),
    "cifar10-gpu": denoised(CIFAR10(), 200_000, network=LARGE, batch=256, ema=0.9995),
    "cifar10-contrastive": CIFAR10_,
    "cifar10-small-contrastive": CIFAR10_SMALL,
    "flowers102": denoised(Flowers102(), 25_000, ema=0.999),
    "flowers102-small": denoised(Flowers102(size=16), 10_000),
    "flowers102-gpu": denoised(Flowers102(), 100_000, network=LARGE, batch=256, ema=0.9995),
    "flowers102-contrastive": FLOWERS102,
    "folder": denoised(Folder(size=32), 25_000, ema=0.999),
    "folder-small": denoised(Folder(size=32), 5_000),
    "folder-gpu": denoised(Folder(size=64), 100_000, network=LARGE, batch=256, ema=0.9995),
    "folder-contrastive": FOLDER,
    "rings-as-published": TrainConfig(
        data=Rings(),
        network=MLP(width=64, depth=3, activation="leaky-relu"),
        sampler=Stanley(step_size=0.14**2, threshold=2 * 0.01 / 0.14**2),
        temperature=0.14**2 / 2,
        optimizer=Adam(lr=1e-4),
        objective=Contrastive(chain_steps=100),
        steps=10_000,
        batch=100,
        decay=0.0,
    ),
    "cifar10-as-published": as_published(CIFAR10(), lr=1e-4, threshold=2e-4, chain_steps=50),
    "flowers102-as-published": as_published(Flowers102(), lr=1e-3, threshold=1e-4, chain_steps=50),
    **{f"cifar10-{name}": compared(CIFAR10(), sampler) for name, sampler in COMPARED.items()},
    **{f"flowers102-{name}": compared(Flowers102(), COMPARED[name]) for name in list(COMPARED)[:5]},
}

ABOUT: dict[str, str] = {
    "rings": "four rings in the plane, exact density known; MALA with jumps, persistent chains",
    "gmm": "eight Gaussians, exact density known; by denoising first and then by chains",
    "moons": "two moons, exact density known; by denoising first and then by chains",
    "rings-contrastive": "by chains: the same as rings, under the name that other data have",
    "gmm-contrastive": "eight Gaussians by chains alone",
    "moons-contrastive": "two moons by chains alone",
    "array": "your vectors, by denoising and then by chains: --data.path FILE.csv or .npy",
    "array-contrastive": "your vectors by chains alone: --data.path FILE.csv or .npy",
    "rings-warm-start": "four rings, by denoising first and then by chains",
    "gmm-warm-start": "the same as gmm",
    "moons-warm-start": "the same as moons",
    "mnist": "MNIST digits by denoising, an hour of one CPU core: --data.root DIR",
    "mnist-small": "MNIST digits by denoising, ten minutes of one CPU core: --data.root DIR",
    "mnist-gpu": "MNIST digits by denoising, a larger network; needs a GPU, not tried on one yet",
    "mnist-contrastive": "MNIST digits by chains; needs a GPU: --data.root DIR",
    "mnist-small-contrastive": "MNIST digits by chains, ten minutes of one core: --data.root DIR",
    "mnist-convergent": "MNIST by convergent learning, SGD and long chains: --data.root DIR",
    "cifar10": "CIFAR-10 by denoising, an hour of one CPU core: --data.root DIR",
    "cifar10-small": "CIFAR-10 at 16 px by denoising, ten minutes of one CPU core: --data.root DIR",
    "cifar10-gpu": "CIFAR-10 by denoising, a larger network; needs a GPU, not tried on one yet",
    "cifar10-contrastive": "CIFAR-10 by chains; needs a GPU: --data.root DIR",
    "cifar10-small-contrastive": "CIFAR-10 by chains on one core, textures only: --data.root DIR",
    "flowers102": "Flowers-102 at 32 px by denoising, an hour of one CPU core: --data.root DIR",
    "flowers102-small": "Flowers-102 at 16 px by denoising, ten minutes of one CPU core",
    "flowers102-gpu": "Flowers-102, a larger network; needs a GPU, not tried on one yet",
    "flowers102-contrastive": "Flowers-102 at 32 px by chains; needs a GPU: --data.root DIR",
    "folder": "your images by denoising, an hour of one CPU core: --data.path DIR --data.size 32",
    "folder-small": "your images by denoising, ten minutes of one CPU core: --data.path DIR",
    "folder-gpu": "your images at 64 px, a larger network; needs a GPU, not tried on one yet",
    "folder-contrastive": "your images by chains; needs a GPU: --data.path DIR --data.size 64",
    "rings-as-published": "rings with the STANLEY draft's constants and a network of our choice",
    "cifar10-as-published": "CIFAR-10 with the STANLEY draft's constants; needs a GPU",
    "flowers102-as-published": "Flowers-102 with the STANLEY draft's constants; needs a GPU",
    **{
        f"cifar10-{name}": f"CIFAR-10 in the image experiment, with {name}; needs a GPU"
        for name in COMPARED
    },
    **{
        f"flowers102-{name}": f"Flowers-102 in the image experiment, with {name}; needs a GPU"
        for name in list(COMPARED)[:5]
    },
}


def recipe(name: str) -> TrainConfig:
    """The configuration of that name; raises StanleyError, with the nearest name, for others."""
    if name not in RECIPES:
        raise StanleyError(f"unknown recipe {name!r}: {did_you_mean(name, RECIPES)}")
    return RECIPES[name]
