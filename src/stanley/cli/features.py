"""stanley features: the classifiers in whose features images are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from stanley.cli.flags import Device, Json, Seed, Whole
from stanley.cli.output import say, show
from stanley.cli.usage import help_of
from stanley.errors import require

features = App(
    name="features", help="The classifiers in whose features images are compared.", help_epilogue=""
)


def train(
    data: Literal["cifar10", "mnist"],
    *,
    data_root: Annotated[
        str | None,
        Parameter(name="--data.root", help="Folder that holds the official files of the data."),
    ] = None,
    out: Annotated[Path, Parameter(help="File to write, such as mnist.safetensors.")],
    epochs: Annotated[
        Whole | None, Parameter(help="Passes over the data. [default: 7 for cifar10, 4 for mnist]")
    ] = None,
    limit: Annotated[
        Whole | None, Parameter(help="Number of images to train on. [default: all]")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Train a small residual classifier and write its folded weights in float16, with the test
    accuracy it has.

    The same seed, device and number of threads give the same weights.
    """
    from dataclasses import replace

    from stanley.data import CIFAR10, MNIST
    from stanley.features.classifier_training import RECIPES, train_classifier

    require(
        out.parent.is_dir(), f"--out {out}: the folder {out.parent} is not there; make it first"
    )
    recipe = RECIPES[data]
    if epochs is not None:
        require(epochs >= 1, f"--epochs is {epochs}, must be at least 1")
        recipe = replace(recipe, epochs=epochs)
    spec = (
        CIFAR10(root=data_root, limit=limit)
        if data == "cifar10"
        else MNIST(root=data_root, limit=limit)
    )
    made = train_classifier(recipe, spec, out, seed=seed, device=device, tell=say)
    meta = made.meta
    show(
        meta | {"file": str(out)},
        json_,
        [
            (
                f"{meta['test_accuracy']:.2%} of {meta['n_test']:,} test images right,"
                f" {meta['n_train']:,} trained on"
            ),
            f"wrote {out}, {out.stat().st_size / 1e6:.2f} MB",
        ],
    )


features.command(train, **help_of("features train"))
