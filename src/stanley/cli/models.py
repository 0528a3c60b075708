"""stanley pack, push, pull, export: trained energies to keep and to hand on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from stanley.cli.flags import (
    Json,
    OwnFlags,
    OwnNetworkName,
    OwnSamplerName,
    Real,
    Run,
    Trust,
    WhichWeights,
    Whole,
)
from stanley.cli.output import show


def pack(
    run: Run,
    *,
    out: Annotated[
        Path, Parameter(help="Folder to write to: model.safetensors, and a card in README.md.")
    ],
    bank: Annotated[Whole, Parameter(help="Largest number of chains of the bank to keep.")] = 128,
    limit_mb: Annotated[Real, Parameter(help="Largest size of the model in megabytes.")] = 4.0,
    network: OwnNetworkName = None,
    sampler: OwnSamplerName = None,
    trust: Trust = False,
    json_: Json = False,
) -> None:
    """Make a small folder of a run, which sample and diagnose take like the run itself.

    It holds the averaged weights (in float16 where that is measured to change next to nothing), a
    few chains and the step size, but no optimiser and no paths. Run stanley evaluate first: its
    numbers go into the card.
    """
    from stanley.cli.own import flags_in_words, parts_of
    from stanley.models.packed import MODEL, read_packed
    from stanley.models.packing import pack as pack_run

    own = parts_of(run, OwnFlags(network, None, sampler, trust))
    own.pop("data", None)
    folder = pack_run(run, out, bank=bank, limit_mb=limit_mb, **own)
    meta = read_packed(folder).meta
    stored, size = meta["weights"], (folder / MODEL).stat().st_size
    lines = [
        (
            f"{stored['stored']} weights: ∇E changed by {stored['gradient']:.2g} of its norm, U by "
            f"{stored['potential']:.2g} (sd), n {stored['n']}"
        ),
        *(
            []
            if meta["scores"]
            else ["no metrics on the card; stanley evaluate first, then pack into a new folder"]
        ),
        f"wrote {folder}, {size / 1e6:.2f} MB; try: stanley sample {folder}"
        + flags_in_words({k: v for k, v in meta["config"].items() if k != "data"}),
    ]
    show({"folder": str(folder), "bytes": size, "weights": stored}, json_, lines)


def push(
    folder: Annotated[Path, Parameter(help="Folder of a packed model.")],
    repo: Annotated[str, Parameter(help="OWNER/NAME on the Hugging Face Hub.")],
    *,
    private: Annotated[
        bool, Parameter(negative="", show_default=False, help="Create the repository as private.")
    ] = False,
    json_: Json = False,
) -> None:
    """Upload a packed model and its card to the Hugging Face Hub (pip install 'stanley[hub]',
    hf auth login).
    """
    from stanley.models.hub import push as push_folder

    address = push_folder(folder, repo, private=private)
    show({"repo": repo, "address": address}, json_, [f"pushed {folder} to {address}"])


def pull(
    repo: Annotated[str, Parameter(help="OWNER/NAME on the Hugging Face Hub.")],
    *,
    out: Annotated[Path, Parameter(help="Folder to write to.")],
    revision: Annotated[
        str | None, Parameter(help="Branch, tag or commit to download. [default: main]")
    ] = None,
    json_: Json = False,
) -> None:
    """Download a packed model from the Hugging Face Hub and check it before it is written.
    It holds no code.
    """
    from stanley.models.hub import pull as pull_folder

    folder = pull_folder(repo, out, revision=revision)
    show(
        {"folder": str(folder)}, json_, [f"pulled {repo} to {folder}; try: stanley sample {folder}"]
    )


def export(
    run: Run,
    *,
    out: Annotated[
        Path,
        Parameter(
            help=(
                "File to write: NAME.pt2 (torch.export), or NAME.onnx, which needs pip install"
                " 'stanley[onnx]'."
            )
        ),
    ],
    weights: WhichWeights = "average",
    network: OwnNetworkName = None,
    sampler: OwnSamplerName = None,
    trust: Trust = False,
    json_: Json = False,
) -> None:
    """Write the energy, points in and E out, as a graph for other programs, and compare it with the
    network.

    Another energy (of another run, step or kind of weights) that is in the file is kept as
    NAME-former.
    """
    from stanley.cli.own import parts_of
    from stanley.models.export import export_energy
    from stanley.models.trained import load

    own = parts_of(run, OwnFlags(network, None, sampler, trust))
    made = export_energy(load(run, weights=weights, device="cpu", **own), out)
    compared = (
        f"max |ΔE| {made.difference:.2g} of {made.scale:.3g} at {made.n} points in batches of 1, 2"
        " and 5"
    )
    value = vars(made) | {"path": str(made.path)}
    show(value, json_, [f"checked with {made.checked_with}: {compared}", f"wrote {made.path}"])
