"""Trained energies to keep and to hand on: packed folders, and those that come with the library."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import stanley
from stanley.config import OWN, flatten
from stanley.errors import StanleyError, did_you_mean, require
from stanley.files import make_folder, write_atomic
from stanley.models.packed import CARD, MODEL, is_packed, read_packed
from stanley.models.trained import Trained, load
from stanley.networks.given import kept_values
from stanley.overwriting import difference, keep_former
from stanley.reading import read_json
from stanley.runs import checkpoint
from stanley.runs.contents import Scores
from stanley.runs.directory import RunDirectory
from stanley.runs.origin import without_paths
from stanley.samplers import evaluate
from stanley.samplers.traits import is_adjusted
from stanley.streams import stream
from stanley.training.former import of_a_run
from stanley.types import in_float32

SHIPPED = Path(__file__).parent / "pretrained_models"

#: Name of a model that comes with the library -> what it is.
PRETRAINED: dict[str, str] = {
    "mnist": "digits of 28×28 grey pixels, by denoising; chains come down a ladder of noise levels",
    "cifar10": "colour pictures of 32×32, by denoising: scenes like paintings, few things to name",
    "mnist-contrastive": "digits, by chains; fresh ones reach them from noise in 200 steps",
    "cifar10-contrastive": "colour pictures of 32×32, by chains: colours and blobs, no objects",
}

STANDARDISED = (
    " Columns were standardised for training; samples and energies are in the units of the data"
    " (energies with T·Σ log std added)."
)

# float16 weights may change ∇E by this share of its norm, about what `Bf16` costs
GRADIENT_LOSS = 0.01
POINTS = 64  # chains and fresh starts, each, at which the loss is measured


def pretrained(name: str, *, device: str = "auto") -> Trained:
    """A model that comes with the library, by its name in `PRETRAINED`. Nothing is downloaded."""
    require(name in PRETRAINED, f"no pretrained model {name!r}; {did_you_mean(name, PRETRAINED)}")
    return load(SHIPPED / name, device=device)


def pack(
    run: str | os.PathLike[str] | RunDirectory,
    out: str | os.PathLike[str],
    *,
    bank: int = 128,
    limit_mb: float = 4.0,
    energy: Any = None,
    sampler: Any = None,
) -> Path:
    """Write the run's newest averaged weights, at most `bank` chains and a card into the folder
    `out`.

    Weights are stored in float16 if that changes ∇E by at most 1 % (Frobenius norm over bank and
    fresh starts), else in float32; chains in float16 if it moves them by less than a tenth of a
    step's noise. The change is in the card. Paths of the configuration are left out. More than
    `limit_mb` MB is an error. Another model that is in the folder is kept as
    model-former.safetensors. `energy` and `sampler` are those that were handed over to `train`, if
    any were: they are not in the folder, and the card says so.
    """
    require(bank >= 0, f"bank is {bank}, must not be negative; 0 keeps no chains")
    source = run.path if isinstance(run, RunDirectory) else Path(run)
    require(
        not is_packed(source),
        f"{source} is packed already; give the run directory, or copy the folder",
    )
    model = load(source, device="cpu", energy=energy, sampler=sampler).standardised
    saved = checkpoint.newest(RunDirectory(source).checkpoints)
    assert saved is not None
    network, weights = rounded_energy(model.energy)
    loss = rounding_loss(model, network)
    if not loss["gradient"] <= GRADIENT_LOSS:  # also where float16 overflows
        network, weights, loss = (
            model.energy,
            model.energy.state_dict(),
            loss | {"gradient": 0.0, "potential": 0.0},
        )
    chains = first_chains(model.bank, bank, saved.meta["step_size"] * saved.meta["slowdown"])
    tensors = {f"average.{name}": t.contiguous() for name, t in weights.items()}
    tensors |= {
        "bank.positions": chains,
        "noise.mean": model.noise.mean,
        "noise.std": model.noise.std,
    }
    if probe := saved.part("probe"):
        points = probe["points"]
        tensors |= {"probe.points": points, "probe.energy": kept_values(network, points)}
    if model.standardisation is not None:
        tensors["standardisation.mean"] = model.standardisation.mean
        tensors["standardisation.std"] = model.standardisation.std
    stored = next(
        (str(t.dtype) for t in weights.values() if t.is_floating_point()), "torch.float32"
    )
    scores = read_scores(RunDirectory(source))
    meta = {
        key: saved.meta[key] for key in ("step", "step_size", "slowdown", "event_shape", "is_image")
    } | {
        "holds": "model",
        "format": checkpoint.FORMAT,
        "config": without_folders(
            of_a_run(saved.meta["config"]) | {"data": without_paths(saved.meta["config"]["data"])}
        ),
        "weights": {"stored": stored.removeprefix("torch."), **loss},
        "scores": scores if scores.get("step") == model.step else {},
        "stanley": stanley.__version__,
        "torch": torch.__version__,
    }
    meta |= {} if model.columns is None else {"columns": list(model.columns)}
    content = serialised(tensors, meta)
    require(
        len(content) <= limit_mb * 1e6,
        f"the packed model has {len(content) / 1e6:.2f} MB, limit {limit_mb:g} MB; keep fewer"
        f" chains than {len(chains)} (--bank), train a smaller network.width, or raise --limit-mb",
    )
    folder = Path(out)
    make_folder(folder)
    is_run = (folder / "config.json").exists()
    require(
        not is_run, f"{folder} is a run directory; choose an empty or a new --out for the model"
    )
    keep_another(folder, meta, chains)
    write_atomic(folder / MODEL, content)
    write_atomic(
        folder / CARD, card(meta, tensors, len(content), is_adjusted(model.sampler)).encode()
    )
    packed = load(folder, device="cpu", energy=energy, sampler=sampler)
    same_energy(packed.standardised, network, chains)
    return folder


def without_folders(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the user's own code called by the names of its files alone, without
    where they lie, and its data without their arguments, which may be paths.
    """

    def short(part: Any) -> Any:
        if not isinstance(part, dict):
            return part
        inside = {name: short(value) for name, value in part.items()}
        if part.get("kind") != "by-name":
            return inside
        where, _, name = str(part.get("name")).rpartition(":")
        return inside | {"name": f"{Path(where).name}:{name}", "arguments": part["arguments"]}

    data = short(config["data"])
    if data.get("kind") == "by-name":
        data |= {"arguments": {}}
    return {name: short(part) for name, part in config.items()} | {"data": data}


def keep_another(folder: Path, meta: dict[str, Any], chains: Tensor) -> None:
    """Another model or card that is in the folder already gets another name; the same run at the
    same step, with as many chains, is the same answer."""
    now = {"config": meta["config"], "step": meta["step"], "chains": len(chains)}
    before = None
    if is_packed(folder):
        try:
            there = read_packed(folder)
            before = {"config": of_a_run(there.meta["config"]), "step": there.meta["step"]}
            before["chains"] = len(there.tensors["bank.positions"])
        except StanleyError:  # damaged, or another program's
            before = None
    if before != now:
        keep_former([folder / MODEL, folder / CARD], difference(before, now))


def rounded_energy(energy: nn.Module) -> tuple[nn.Module, dict[str, Tensor]]:
    """The energy with its weights rounded to float16, and these;
    what is no float stays as it is.
    """
    weights = {n: t.half() if t.is_floating_point() else t for n, t in energy.state_dict().items()}
    other = copy.deepcopy(energy)
    other.load_state_dict(
        {n: t.float() if t.is_floating_point() else t for n, t in weights.items()}
    )
    return other, weights


def rounding_loss(model: Trained, energy: nn.Module) -> dict[str, Any]:
    """What other weights change, over n points of the bank and of fresh noise: the gradient as
    |Δ∇E| / |∇E|, and U by the standard deviation of ΔU (a constant that is added to U changes no
    law)."""
    fresh = model.noise.draw(POINTS, stream(0, "points of rounding"))
    points = torch.cat([model.bank[:POINTS], fresh])
    potentials = (in_float32(model.config.potential(network)) for network in (model.energy, energy))
    before, after = (evaluate(potential, points) for potential in potentials)
    change = (after.grad - before.grad).norm() / before.grad.norm()
    spread = (after.potential - before.potential).std()
    return {"gradient": float(change), "potential": float(spread), "n": len(points)}


def first_chains(positions: Tensor, bank: int, step_size: float) -> Tensor:
    """At most `bank` chains, drawn once for all; in float16 where that is finer than a tenth of the
    noise √h.
    """
    order = torch.randperm(len(positions), generator=stream(0, "packed chains"))
    chains = positions[order[:bank]].contiguous()
    moved = float((chains.half().float() - chains).abs().max()) if len(chains) else 0.0
    return chains.half() if moved < 0.1 * step_size**0.5 else chains


def serialised(tensors: dict[str, Tensor], meta: dict[str, Any]) -> bytes:
    from safetensors.torch import save

    header = {
        "stanley": json.dumps(meta, sort_keys=True),
        "checksum": checkpoint.checksum(tensors, meta),
    }
    return save(checkpoint.apart(tensors), metadata=header)


def same_energy(packed: Trained, energy: nn.Module, chains: Tensor) -> None:
    """What was written is read back and gives the same numbers."""
    x = torch.cat([chains.float()[:4], packed.noise.draw(4, stream(0, "points read back"))])
    ours, theirs = energy(x), packed.energy(x)
    require(
        torch.equal(ours, theirs),
        f"{packed.path} was written, but its energies differ from the run's",
    )


def read_scores(directory: RunDirectory) -> dict[str, Any]:
    """The parts of scores.json that fit on a card; empty where the run was not evaluated."""
    if not directory.scores_file.exists():
        return {}
    scores = read_json(directory.scores_file, Scores, "run stanley evaluate again")
    wanted = ("step", "seed", "kl", "tv", "fresh", "bank", "chains", "energy")
    return {name: scores[name] for name in wanted if scores.get(name) is not None}


def objective_of(config: dict[str, Any]) -> dict[str, Any]:
    """The objective as plain values; of one of the user's own the library's that it extends."""
    objective = config["objective"]
    return objective.get("like") or objective


def of_chains(config: dict[str, Any]) -> str:
    """`and as many chains …`, where training ran some."""
    objective = objective_of(config)
    chains = objective.get("contrastive", objective)
    if "chain_steps" not in chains:
        return ""
    return f" and as many chains from the {chains['start']}, {chains['chain_steps']} steps each"


def card(meta: dict[str, Any], tensors: dict[str, Tensor], size: int, adjusted: bool) -> str:
    """README.md: data, recipe, metrics, limits; nothing that was not measured."""
    config, stored = meta["config"], meta["weights"]
    shape = "×".join(map(str, meta["event_shape"]))
    parameters = sum(t.numel() for name, t in tensors.items() if name.startswith("average."))
    data = {
        k: v
        for k, v in config["data"].items()
        if v not in (None, {}) and k not in ("kind", "download", "fingerprint", "checksum")
    }
    step_size = meta["step_size"] * meta["slowdown"]
    chains = len(tensors["bank.positions"])
    bank = f" with {chains} chains of the bank" if chains else ""
    flow = objective_of(config)["kind"] == "flow-matching"
    what = f"p(x) ∝ exp(-E(x)/T), T = {config['temperature']:.4g}."
    if flow:
        what = "V(x, σ) = √(σ² + f²s²)·E(x, σ), whose gradient moves noise to data; no density."
    lines = [
        "---",
        "license: apache-2.0",
        "library_name: stanley",
        "tags: [energy-based-model, mcmc]",
        "---",
        f"# An energy of {data_name(config['data'])}, points of shape {shape}",
        "",
        (f"{what} {parameters:,} weights in {stored['stored']}, {size / 1e6:.2g} MB{bank}."),
        "",
        "```python",
        "import stanley",
        f'x = stanley.load("THIS FOLDER"{own_arguments(config)}).sample(16).x',
        "```",
        "",
        *own_code_lines(config),
        "## Data",
        "",
        f"{data_name(config['data'])}: {fields_in_words(data) or 'as it is'}."
        + (" Images in [-1, 1], dequantised." if meta["is_image"] else "")
        + (STANDARDISED if "standardisation.mean" in tensors else ""),
        "",
        "## Recipe",
        "",
        (
            f"{meta['step']:,} iterations of {config['batch']} points{of_chains(config)}; seed"
            f" {config['seed']}; weights averaged with β = {config['ema']}."
        ),
        "",
        *(
            f"* {part}: {fields_in_words(flatten(config[part]))}"
            for part in ("objective", "network", "sampler", "optimizer")
            if not (flow and part == "sampler")
        ),
        *([] if flow else [f"* step size at the end, which samples use: {step_size:.4g}"]),
        "",
        "The whole configuration is in the header of model.safetensors.",
        "",
        "## Metrics",
        "",
        *(
            score_lines(meta["scores"])
            or ["None: the run was not evaluated at this step before it was packed."]
        ),
        "",
        "## Limits",
        "",
        (
            f"* Stored in {stored['stored']}, which changes ∇E by {stored['gradient']:.2g} of its"
            f" norm and U by {stored['potential']:.2g} (sd), measured at {stored['n']} points."
        ),
        *limits_of(config, adjusted),
    ]
    return "\n".join(lines) + "\n"


def limits_of(config: dict[str, Any], adjusted: bool) -> list[str]:
    """What the model's values and samples are not."""
    objective = objective_of(config)
    kind = objective["kind"]
    if kind == "flow-matching":
        return [
            (
                "* It is no density: its values mean nothing by themselves, and there is no"
                " likelihood, no score of outsiders, and no chain to run."
            )
        ]
    levels = "denoising" in (kind, *objective)
    lines = [
        (
            "* The energy knows noise levels, from which fresh chains come down a ladder. It is"
            " normalised as far as it has learned its level score; `stanley likelihood RUN` bounds"
            " log Z."
            if levels
            else "* The energy is not normalised: differences within this model mean something, its"
            " values do not."
        ),
        (
            "* No number of steps proves that chains from noise have converged; `stanley diagnose`"
            " says how far to believe them."
        ),
    ]
    if not adjusted:
        lines.append("* The sampler is not adjusted: samples carry the bias of its step size.")
    return lines


def data_name(data: dict[str, Any]) -> str:
    return "the author's own data" if data["kind"] in OWN else str(data["kind"])


def own_parts(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What has to be handed over with the model, as arguments of `stanley.load`."""
    sampler = config["sampler"]
    inside = sampler.get("proposal", sampler.get("sampler", sampler))
    parts = {"energy": config["network"], "sampler": inside}
    return {word: part for word, part in parts.items() if part["kind"] in OWN}


def own_arguments(config: dict[str, Any]) -> str:
    """`, energy=MyNet(…)`."""
    calls = {"energy": "(…)", "sampler": ""}
    return "".join(
        f", {word}={own_name(part).rpartition(':')[2]}{calls[word]}"
        for word, part in own_parts(config).items()
    )


def own_name(part: dict[str, Any]) -> str:
    return str(part.get("name", part.get("class")))


def own_code_lines(config: dict[str, Any]) -> list[str]:
    """That the model is of no use without code which is not in its folder."""
    own = own_parts(config)
    if not own:
        return []
    names = ", ".join(map(own_name, own.values()))
    flags = " ".join(f"--{word.replace('energy', 'network')} FILE.py:NAME" for word in own)
    sums = [f"{own_name(p)} {p['checksum']}…" for p in own.values() if p.get("checksum")]
    return [
        "## Needs code that is not here",
        "",
        f"It was trained with code of its author's own: {names}. This folder holds none of it, and "
        "nothing is imported by itself. Hand it over as above, or name it, `stanley sample FOLDER "
        f"{flags}`."
        + (f" SHA-256 of the files it was trained with: {', '.join(sums)}" if sums else ""),
        "",
    ]


def score_lines(scores: dict[str, Any]) -> list[str]:
    """Every number of scores.json that has a value and its n, a line for each kind of samples."""
    lines = [f"* KL(data‖model) {scores['kl']:.4f} nats, exact"] if "kl" in scores else []
    for name in ("fresh", "bank"):
        part, chains = scores.get(name, {}), scores.get("chains", {}).get(name, {})
        told = [told_score(key, m) for key, m in part.items() if is_score(m)]
        if told:
            lines.append(
                f"* {name}, {chains.get('steps')} steps from {chains.get('start')}:"
                f" {'; '.join(told)}; {part.get('nonfinite', 0)} of {part.get('n')} not finite"
            )
    return lines


def is_score(part: Any) -> bool:
    """A number with its spread, and not a count or what an edited file has in its place."""
    number = (int, float)
    return (
        isinstance(part, dict)
        and isinstance(part.get("value"), number)
        and isinstance(part.get("standard_error", 0.0), number)
        and isinstance(part.get("feature", ""), str)
    )


def told_score(key: str, score: dict[str, Any]) -> str:
    counts = " and ".join(str(score[n]) for n in ("n", "n1", "n2") if score.get(n) is not None)
    feature = score.get("feature", "")
    seen = f" in features {feature}" if feature and feature not in key else ""
    spread = f" ± {score['standard_error']:.2g}" if "standard_error" in score else ""
    return f"{key} {score['value']:.4g}{spread}{seen} (n {counts or 'not stated'})"


def fields_in_words(part: dict[str, Any]) -> str:
    return ", ".join(
        f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in part.items()
    )
