"""The command that brackets a run's normalising constant."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from stanley.cli.flags import (
    DataRoot,
    Device,
    Json,
    OwnDataName,
    OwnFlags,
    OwnNetworkName,
    OwnSamplerName,
    Run,
    Seed,
    Trust,
    WhichWeights,
    Whole,
)
from stanley.cli.output import show


def likelihood(
    run: Run,
    *,
    chains: Annotated[Whole, Parameter(help="Number of chains in each direction.")] = 64,
    levels: Annotated[
        Whole, Parameter(help="Number of densities between the reference and the model.")
    ] = 1000,
    steps_per_level: Annotated[
        Whole, Parameter(help="Chain steps at each of these densities.")
    ] = 1,
    model_steps: Annotated[
        Whole | None,
        Parameter(
            help="Steps on the model before the reverse direction. [default: ten times the chain "
            "steps of the run's newest iteration; 200 where it ran no chains]"
        ),
    ] = None,
    rows: Annotated[Whole, Parameter(help="Largest number of held-out points to judge.")] = 1000,
    seed: Seed = 0,
    weights: WhichWeights = "average",
    data_root: DataRoot = None,
    network: OwnNetworkName = None,
    data: OwnDataName = None,
    sampler: OwnSamplerName = None,
    trust: Trust = False,
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Bracket log Z by annealed importance sampling, and judge held-out data in bits per dimension
    (vectors: nats).

    The densities between are powers of the model's, or its own noise levels where it knows them.
    The estimate from a Gaussian forward is too low, the one from samples of the model in reverse is
    too high, and the distance between them says how far to trust them. The result is written to
    RUN/likelihood.json; that of another request which is there is kept as likelihood-former.json.
    """
    from stanley.cli.own import parts_of
    from stanley.judging.likelihood import held_out_likelihood

    own = parts_of(run, OwnFlags(network, data, sampler, trust), data_root, needs_data=True)
    if "sampler" in own:
        own["own_sampler"] = own.pop("sampler")
    found = held_out_likelihood(
        run,
        chains=chains,
        levels=levels,
        steps_per_level=steps_per_level,
        model_steps=model_steps,
        rows=rows,
        seed=seed,
        weights=weights,
        data_root=None if "data" in own else data_root,
        device=device,
        **own,
    )
    held, forward, reverse = found["held_out"], found["forward"], found["reverse"]
    low, high = sorted((held["lower"], held["upper"]))
    lines = [
        found["log_z"]["verdict"],
        (
            f"held-out data   {low:.4f} to {high:.4f} {held['unit']}   n {held['n']}, "
            f"standard error {held['standard_error']:.2g}"
        ),
        *(
            f"{name:<8} ESS {one['ess']:.1f} of {one['n']}{accepted(one)}"
            for name, one in (("forward", forward), ("reverse", reverse))
        ),
        f"wrote {run / 'likelihood.json'}",
    ]
    show(found, json_, lines)


def accepted(one: dict[str, Any]) -> str:
    """What a pass says of its Metropolis tests, if it has any."""
    rate = one["acceptance"]
    return "" if rate is None else f"   least acceptance of a level {rate:.2f}"
