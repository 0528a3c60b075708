"""stanley recipes, targets: what the commands know by name."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from stanley.cli.flags import Json
from stanley.cli.output import show


def recipes(
    name: Annotated[
        str | None, Parameter(help="Recipe to print in full. [default: list all recipes]")
    ] = None,
    *,
    json_: Json = False,
) -> None:
    """List the recipes, or print one with every field, ready for --config."""
    from stanley.config import to_dict
    from stanley.training.recipes import ABOUT, RECIPES, recipe

    if name is None:
        width = max(map(len, RECIPES))
        show({n: ABOUT[n] for n in RECIPES}, json_, [f"{n:<{width}}  {ABOUT[n]}" for n in RECIPES])
        return
    import yaml

    full = to_dict(recipe(name))
    show(full, json_, yaml.safe_dump(full, sort_keys=False).splitlines())


def targets(*, json_: Json = False) -> None:
    """List the densities that stanley sample and stanley diagnose know by name."""
    from stanley.targets.named import ABOUT

    width = max(map(len, ABOUT))
    show(dict(ABOUT), json_, [f"{name:<{width}}  {about}" for name, about in ABOUT.items()])
