"""stanley features: the classifiers in whose features images are compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from stanley.cli.flags import Device, Json, Whole
from stanley.cli.output import show
from stanley.cli.usage import help_of
from stanley.errors import StanleyError, require

features = App(name="features", help="The classifiers in whose features images are compared.", help_epilogue="")


def train(
    data: Literal["cifar10", "mnist"],
    *,
    data_root: Annotated[str | None, Parameter(name="--data.root", help="Folder with the official files.")] = None,
    out: Annotated[Path, Parameter(help="File to write, NAME.safetensors.")],
    epochs: Annotated[Whole | None, Parameter(help="Passes over the data; 7 for cifar10, 4 for mnist.")] = None,
    limit: Annotated[Whole | None, Parameter(help="Train on that many images only.")] = None,
    seed: Whole = 0,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Train a small residual classifier and write its folded weights in float16, with the test accuracy it has.

    Same seed, device and number of threads, same weights. A file that holds another classifier (data, epochs, limit,
    seed) is not overwritten.
    """
    import sys
    from dataclasses import replace

    from stanley.data import CIFAR10, MNIST
    from stanley.features.classifier_training import RECIPES, train_classifier

    require(out.parent.is_dir(), f"--out {out}: the folder {out.parent} is not there; make it first")
    recipe = RECIPES[data]
    if epochs is not None:
        require(epochs >= 1, f"--epochs is {epochs}, must be at least 1")
        recipe = replace(recipe, epochs=epochs)
    spec = CIFAR10(root=data_root, limit=limit) if data == "cifar10" else MNIST(root=data_root, limit=limit)
    refuse_other_classifier(out, {"name": recipe.name, "recipe": vars(recipe), "data": vars(spec), "seed": seed})
    made = train_classifier(
        recipe, spec, out, seed=seed, device=device, tell=lambda line: print(line, file=sys.stderr, flush=True)
    )
    meta = made.meta
    show(
        meta | {"file": str(out)},
        json_,
        [
            f"{meta['test_accuracy']:.2%} of {meta['n_test']:,} test images right, {meta['n_train']:,} trained on",
            f"wrote {out}, {out.stat().st_size / 1e6:.2f} MB",
        ],
    )


def refuse_other_classifier(out: Path, asked: dict[str, Any]) -> None:
    """The file is not there, or holds what the same request made before; found out before anything is trained."""
    from stanley.cli.overwriting import refuse_other
    from stanley.runs.checkpoint import load

    if not out.exists():
        return
    try:
        meta = load(out).meta
        old = {"name": meta["name"], "recipe": meta["recipe"], "data": meta["data"], "seed": meta["seed"]}
    except (StanleyError, KeyError):
        raise StanleyError(f"{out} is there and not from this command; choose another --out") from None
    new = asked | {part: {key: asked[part].get(key) for key in old[part]} for part in ("recipe", "data")}
    refuse_other(out, old, json.loads(json.dumps(new)))


features.command(train, **help_of("features train"))
