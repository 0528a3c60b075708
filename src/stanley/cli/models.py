"""stanley pack, push, pull, export: trained energies to keep and to hand on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from stanley.cli.flags import Json, Run, WhichWeights, Whole
from stanley.cli.output import show


def pack(
    run: Run,
    *,
    out: Annotated[Path, Parameter(help="Folder to make: model.safetensors and a card, README.md.")],
    bank: Annotated[Whole, Parameter(help="Chains of the bank to keep, at most.")] = 128,
    limit_mb: Annotated[float, Parameter(help="The most the model may take.")] = 4.0,
    json_: Json = False,
) -> None:
    """Make a small folder of a run that sample and diagnose take like the run itself.

    Averaged weights, in float16 where that is measured to cost nothing to speak of; a few chains; the step size; no
    optimiser, no paths. Run stanley evaluate first: its numbers go into the card.
    """
    from stanley.models.packed import MODEL, read_packed
    from stanley.models.packing import pack as pack_run

    folder = pack_run(run, out, bank=bank, limit_mb=limit_mb)
    meta = read_packed(folder).meta
    stored, size = meta["weights"], (folder / MODEL).stat().st_size
    lines = [
        f"{stored['stored']} weights: ∇E changed by {stored['gradient']:.2g} of its norm, U by "
        f"{stored['potential']:.2g} (sd), n {stored['n']}",
        *([] if meta["scores"] else ["no metrics on the card; stanley evaluate first, then pack into a new folder"]),
        f"wrote {folder}, {size / 1e6:.2f} MB; try: stanley sample {folder}",
    ]
    show({"folder": str(folder), "bytes": size, "weights": stored}, json_, lines)


def push(
    folder: Annotated[Path, Parameter(help="A packed model.")],
    repo: Annotated[str, Parameter(help="OWNER/NAME on the Hugging Face Hub.")],
    *,
    private: Annotated[bool, Parameter(negative="", help="If the repository is made now: for you alone.")] = False,
    json_: Json = False,
) -> None:
    """Upload a packed model and its card to the Hugging Face Hub (pip install 'stanley[hub]', hf auth login)."""
    from stanley.models.hub import push as push_folder

    address = push_folder(folder, repo, private=private)
    show({"repo": repo, "address": address}, json_, [f"pushed {folder} to {address}"])


def pull(
    repo: Annotated[str, Parameter(help="OWNER/NAME on the Hugging Face Hub.")],
    *,
    out: Annotated[Path, Parameter(help="Folder to make.")],
    revision: Annotated[str | None, Parameter(help="Branch, tag or commit.")] = None,
    json_: Json = False,
) -> None:
    """Download a packed model from the Hugging Face Hub; it is checked before it gets its place, and holds no code."""
    from stanley.models.hub import pull as pull_folder

    folder = pull_folder(repo, out, revision=revision)
    show({"folder": str(folder)}, json_, [f"pulled {repo} to {folder}; try: stanley sample {folder}"])


def export(
    run: Run,
    *,
    out: Annotated[Path, Parameter(help="energy.pt2 (torch.export) or energy.onnx (pip install 'stanley[onnx]').")],
    weights: WhichWeights = "average",
    json_: Json = False,
) -> None:
    """Write the energy, points in and E out, as a graph for other programs, and compare it with the network.

    A file that holds another energy (another run, step or kind of weights) is not overwritten.
    """
    from stanley.models.export import export_energy
    from stanley.models.trained import load

    made = export_energy(load(run, weights=weights, device="cpu"), out)
    compared = f"max |ΔE| {made.difference:.2g} of {made.scale:.3g} at {made.n} points in batches of 1, 2 and 5"
    value = vars(made) | {"path": str(made.path)}
    show(value, json_, [f"checked with {made.checked_with}: {compared}", f"wrote {made.path}"])
