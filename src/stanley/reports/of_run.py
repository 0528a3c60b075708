"""The page of a run: what was asked, how it went, what it learned, and how to do it again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stanley.config import flatten
from stanley.judging.in_words import kl_in_words
from stanley.own_code import is_named
from stanley.plots.run import figures_of_run
from stanley.reports.page import Shown, as_data, head_of, in_yaml, whole, write_page
from stanley.runs.directory import WENT_WRONG, RunDirectory
from stanley.training.former import of_a_run

NAME = "index.html"
#: What a reader sees in a figure of `plots.run`.
WORDS = {
    "samples": ("Samples", "Beside the data, fresh chains that began in noise, and the bank."),
    "landscape": ("Energy", "Low where the model expects data."),
    "curves": ("Training", "The numbers of every step."),
    "energies": (
        "Energies",
        "Where held-out data have the energies of the data that were trained on, nothing was "
        "learned by heart; where samples have them as well, chains and energy agree.",
    ),
    "traces": ("Chains", "A few coordinates of a few chains, from noise on."),
    "autocorrelation": ("Autocorrelation", "How long a chain remembers where it was."),
}


def report_run(run: RunDirectory, out: Path | None = None, said: Sequence[str] = ()) -> Path:
    """Write the page of a run, RUN/index.html unless `out` says another file; returns its path.

    It is made from the files of the run alone: nothing is trained, sampled or imported. Scores and
    samples are those of the last `evaluate`; without it there are the curves. Raises StanleyError
    where a file of the run is damaged.

    said   sentences that stand at the beginning besides its own
    """
    config = of_a_run(run.read_config())
    last, scores = run.last_record() or {}, scores_of(run)
    drawn = figures_of_run(run) if last else {}
    figures = [Shown(*WORDS[name], drawn[name]) for name in WORDS if name in drawn]
    with whole(run.scores_file, "run stanley evaluate again"):
        of_scores = {
            "summary": [*summary_of(run, config, last, scores), *said],
            "warnings": warnings_of(run, config, scores),
            "scores": score_rows(scores),
            "judged": judged_in_words(scores),
        }
    as_yaml = in_yaml(config)
    return write_page(
        out or run.path / NAME,
        "run.html",
        figures,
        title=str(run.path),
        step=last.get("step", 0),
        **of_scores,
        facts=facts_of(config, last),
        fields=[(name, value) for name, value in flatten(config).items()],
        config_file=as_data(as_yaml.encode(), "text/yaml"),
        command=f"stanley train {recipe_of_data(config)} --config run.yaml --out runs/again",
        needs=needs_of(config),
        evaluate=f"stanley evaluate {run.path}",
        again=f"stanley report {run.path}",
    )


def page_step(run: RunDirectory) -> int | None:
    """The step that the run's page is of; None where there is none, or another file."""
    found = re.search(r'<meta name="step" content="(\d+)">', head_of(run.path / NAME))
    return int(found[1]) if found else None


def scores_of(run: RunDirectory) -> dict[str, Any]:
    """scores.json, or nothing where there is none."""
    from stanley.reading import read_json

    if not run.scores_file.exists():
        return {}
    return read_json(run.scores_file, dict[str, Any], "run stanley evaluate again")


def summary_of(
    run: RunDirectory, config: dict[str, Any], last: dict[str, Any], scores: dict[str, Any]
) -> list[str]:
    """What a reader should know if they read nothing else."""
    objective = config["objective"]["kind"]
    lines = [
        f"An energy of {config['data']['kind']}, a network of kind {config['network']['kind']}, "
        f"trained with the objective {objective} and the sampler {config['sampler']['kind']}."
    ]
    done, of, events = last.get("step", 0), config["steps"], run.events()
    if events and events[-1]["kind"] == "diverged":
        lines.append(f"It diverged at step {events[-1]['step']:,} of {of:,}.")
    elif done < of:
        lines.append(f"It is at step {done:,} of {of:,}: its training is not at its end.")
    else:
        lines.append(f"All {of:,} steps were made.")
    if (kl := scores.get("kl")) is not None:
        lines.append(f"KL(data‖model) is {kl:.4f} nats (exact): {kl_in_words(kl)}.")
    return lines


def warnings_of(run: RunDirectory, config: dict[str, Any], scores: dict[str, Any]) -> list[str]:
    """What went wrong, what training warned of, and what the scores do not say by themselves."""
    lines = [
        f"At step {event['step']:,}: {event['kind']}: {event['reason']}"
        for event in run.events()
        if event["kind"] in (*WENT_WRONG, "warned")
    ]
    if config["steps"] <= config["warmup"]:
        lines.append(
            f"Its {config['steps']:,} steps are no more than its warm-up ({config['warmup']:,}): "
            "the learning rate never reached its full value."
        )
    step = run.last_step()
    if scores and scores.get("step") != step:
        lines.append(
            f"The scores are of step {scores.get('step')}, and the run is at step {step:,}: "
            "evaluate it again."
        )
    if "not_settled" in scores:
        lines.append(f"There is no exact density: {scores['not_settled']}.")
    for kind in ("fresh", "bank"):
        lost = (scores.get("chains") or {}).get(kind, {}).get("nonfinite")
        if lost:
            lines.append(f"{lost:,} of the {kind} chains are not finite.")
        for name, score in (scores.get(kind) or {}).items():
            if isinstance(score, dict) and score.get("rank_deficient") is True:
                lines.append(f"{kind}.{name} is mostly bias: it has fewer samples than features.")
    return lines


def judged_in_words(scores: dict[str, Any]) -> str:
    if not scores:
        return ""
    return (
        f"Step {scores.get('step')}, {scores.get('weights')} weights, seed {scores.get('seed')}, "
        f"torch {scores.get('torch')} on {scores.get('device')}."
    )


def score_rows(scores: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """(score, value, n, what it says) of every number that scores.json has."""
    rows: list[tuple[str, str, str, str]] = []
    if scores.get("kl") is not None:
        error = scores["quadrature"]["error_estimate"]
        exact = f"by quadrature, error about {error:.1g}"
        rows.append(("KL(data‖model)", f"{scores['kl']:.4g} nats", exact, "0 is the data itself"))
        rows.append(("total variation", f"{scores['tv']:.4g}", exact, "between 0 and 1"))
    if scores.get("nll_held_out"):
        held = scores["nll_held_out"]
        value = f"{held['value']:.5g} {held['unit']}"
        rows.append(("-log p of held-out data", value, f"n = {held['n']:,}", "less is better"))
    for kind in ("fresh", "bank"):
        for name, score in (scores.get(kind) or {}).items():
            if isinstance(score, dict):
                found = rows_of_score(name, score)
                rows += [(f"{kind}: {what}", value, n, says) for what, value, n, says in found]
    for kind, energy in (scores.get("energy") or {}).items():
        if energy.get("mean") is not None:
            value = f"{energy['mean']:.4g} ± {energy['sd']:.3g}"
            n = f"n = {energy['n']:,}"
            rows.append((f"energy of {kind.replace('_', ' ')}", value, n, "mean ± sd"))
    return rows


def rows_of_score(name: str, score: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Of one entry under `fresh` or `bank`: a distance, or a few shares."""
    kind = name.partition("_")[0]
    first = score.get("n1", score.get("num_samples", score.get("n")))
    n = f"n = {first:,}" if isinstance(first, int) else ""
    if "against" in score:
        n += f" against {score.get('n2', 0):,} {score['against']}"
    if kind in ("fd", "fid"):
        return [(name, f"{score['value']:.4g}", n, "Fréchet distance, 0 is equal")]
    if kind in ("kd", "kid"):
        value = f"{score['value']:.4g} ± {score['standard_error']:.2g}"
        return [(name, value, n, "kernel distance ± standard error, 0 is equal")]
    if kind == "prdc":
        parts = ("precision", "recall", "density", "coverage")
        return [(f"{part}, {name}", f"{score[part]:.2f}", n, "1 is best") for part in parts]
    if kind == "mmd2":
        says = f"p = {score['p_value']:.3g}; a small one says that samples and data differ"
        return [("MMD²", f"{score['value']:.3g}", n, says)]
    if kind == "modes":
        return [("modes that were hit", f"{score['hit_share']:.0%}", n, "of those of the data")]
    if kind == "score":
        value = f"{score['value']:.2f} ± {score['sd']:.2f}"
        return [(name, value, n, f"of {score['num_classes']} classes, more is better")]
    return []


def facts_of(config: dict[str, Any], last: dict[str, Any]) -> list[tuple[str, str]]:
    """The few fields that a reader asks for first, and the last record."""
    fields = flatten(config)
    shown = ("steps", "batch", "seed", "objective.chain_steps", "sampler.step_size", "optimizer.lr")
    facts = [(name, str(fields[name])) for name in shown if fields.get(name) is not None]
    numbers = ("loss", "gap", "acceptance", "step_size")
    known = (name for name in numbers if last.get(name) is not None)
    return facts + [(f"{name}, last step", f"{last[name]:.4g}") for name in known]


def needs_of(config: dict[str, Any]) -> list[str]:
    """What the file alone does not bring."""
    kinds = [value for name, value in flatten(config).items() if name.endswith("kind")]
    own = ", ".join(kind for kind in kinds if is_named(kind))
    lines = [f"It needs code of your own: {own}; name it again, or pass --trust."] if own else []
    if any(part.get("kind") == "given" for part in config.values() if isinstance(part, dict)):
        lines.append("Parts of it were handed over in Python, and have to be handed over again.")
    return lines


def recipe_of_data(config: dict[str, Any]) -> str:
    """The first recipe with data of this kind, all of whose fields the file replaces."""
    from stanley.training.recipes import RECIPES, recipe

    kind = config["data"]["kind"]
    return next((name for name in RECIPES if recipe(name).data.kind == kind), "array")
