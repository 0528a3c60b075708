"""stanley: train energy-based models with MCMC, sample them and any unnormalised density, judge
both honestly.

    run = stanley.train(stanley.recipe("rings"), "runs/rings")      train, or resume what is there
    stanley.evaluate(run)["kl"]                                     exact KL(data‖model), nats
    stanley.load(run).sample(1000).x                                samples of the trained energy
    stanley.draw(potential, 10)["x"]                                draws of any density, judged
    stanley.run_chains("mala", potential, x0, 1000, seed=0)         chains of any sampler

Names are loaded when they are first used, so that the command line answers without importing torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stanley import data, diagnostics, metrics, networks, plots, samplers, targets
    from stanley.comparing.carry_out import compare
    from stanley.comparing.comparison import Comparison
    from stanley.comparing.given import compare_runs
    from stanley.data import CIFAR10, GMM, MNIST, Array, Dataset, Flowers102, Folder, Moons, Rings
    from stanley.errors import DivergenceError, StanleyError
    from stanley.judging.diagnose import diagnose
    from stanley.judging.draw import Draws, draw
    from stanley.judging.evaluate import evaluate
    from stanley.models.packing import PRETRAINED, pack, pretrained
    from stanley.models.trained import Trained, load
    from stanley.networks import MLP, ConvNet, ResNet, WithReference
    from stanley.runs.checkpoint import Checkpoint
    from stanley.runs.directory import RunDirectory
    from stanley.samplers import (
        AMALA,
        HMC,
        MALA,
        Adjusted,
        Barker,
        ChainInfo,
        ChainResult,
        ChainState,
        ChEES,
        ClippedLangevin,
        DensePreconditioned,
        GradientDescent,
        Langevin,
        MALAWithJumps,
        MatchedLangevin,
        Preconditioned,
        PreconditionedLangevin,
        Quantile,
        RandomWalk,
        ReplicaExchange,
        RobbinsMonro,
        Stanley,
        StepInfo,
        TamedLangevin,
        Underdamped,
        adapt,
        run_chains,
    )
    from stanley.targets.own import from_log_density
    from stanley.targets.parameters import (
        Parameters,
        cholesky,
        correlation,
        interval,
        positive,
        real,
        simplex,
        unit_interval,
    )
    from stanley.training.augment import Augment
    from stanley.training.config import TrainConfig
    from stanley.training.loop import steps, train
    from stanley.training.objectives.contrastive import Contrastive, Growth
    from stanley.training.opening import open_run
    from stanley.training.optim import SGD, Adam
    from stanley.training.recipes import recipe
    from stanley.training.stack import train_stack, why_not_stackable
    from stanley.types import Bf16, Chunked, Energy, Potential

_HOME = {
    "stanley": "data diagnostics metrics networks plots samplers targets",
    "stanley.training.augment": "Augment",
    "stanley.runs.checkpoint": "Checkpoint",
    "stanley.data": "CIFAR10 GMM MNIST Array Dataset Flowers102 Folder Moons Rings",
    "stanley.judging.diagnose": "diagnose",
    "stanley.judging.draw": "Draws draw",
    "stanley.errors": "DivergenceError StanleyError",
    "stanley.judging.evaluate": "evaluate",
    "stanley.models.packing": "PRETRAINED pack pretrained",
    "stanley.networks": "MLP ConvNet ResNet WithReference",
    "stanley.training.optim": "SGD Adam",
    "stanley.training.recipes": "recipe",
    "stanley.training.stack": "train_stack why_not_stackable",
    "stanley.runs.directory": "RunDirectory",
    "stanley.samplers": (
        "AMALA HMC MALA Adjusted Barker ChEES ChainInfo ChainResult ChainState ClippedLangevin"
        " DensePreconditioned"
        " GradientDescent Langevin MALAWithJumps MatchedLangevin Preconditioned"
        " PreconditionedLangevin Quantile RandomWalk ReplicaExchange RobbinsMonro Stanley StepInfo"
        " TamedLangevin Underdamped adapt"
        " run_chains"
    ),
    "stanley.targets.own": "from_log_density",
    "stanley.targets.parameters": (
        "Parameters cholesky correlation interval positive real simplex unit_interval"
    ),
    "stanley.comparing.carry_out": "compare",
    "stanley.comparing.comparison": "Comparison",
    "stanley.comparing.given": "compare_runs",
    "stanley.training.config": "TrainConfig",
    "stanley.training.objectives.contrastive": "Contrastive Growth",
    "stanley.training.loop": "steps train",
    "stanley.training.opening": "open_run",
    "stanley.models.trained": "Trained load",
    "stanley.types": "Bf16 Chunked Energy Potential",
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names.split()}

__version__ = "0.1.0"
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'stanley' has no attribute {name!r}")
    home = _MODULE_OF[name]
    value = (
        importlib.import_module(f"stanley.{name}")
        if home == "stanley"
        else getattr(importlib.import_module(home), name)
    )
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
