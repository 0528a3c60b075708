"""What stanley compare is asked, as a Comparison: words, flags, files and folders of one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stanley.errors import StanleyError, require

if TYPE_CHECKING:
    from stanley.comparing import Comparison

FILES = (".yaml", ".yml", ".toml")
#: Of samplers that are named on a density: b² of one seed says little, and chains cost little.
TUNING_SEEDS = 3


def apart(words: tuple[str, ...]) -> tuple[list[str], dict[str, Any]]:
    """What is compared, and the fields of the recipe that are given as flags."""
    from stanley.cli.values import parse_fields

    first = next((k for k, word in enumerate(words) if word.startswith("--")), len(words))
    return list(words[:first]), parse_fields(words[first:])


def asked(
    path: str | None, given: dict[str, Any], fields: dict[str, Any], tuning: bool
) -> Comparison:
    """The comparison that one word, or none and a density, and the flags ask for."""
    from stanley.cli.config_file import read_config_file
    from stanley.comparing.task import RECORD, ROW
    from stanley.overwriting import json_object

    point = {name: given[name] for name in ("shape", "log_density") if given[name] is not None}
    shared = dict(fields) | point | ({} if given["steps"] is None else {"steps": given["steps"]})
    record = None if path is None else Path(path) / RECORD
    one = path is not None and any((Path(path) / name).is_file() for name in ("config.json", ROW))
    require(
        not one,
        f"{path} is one run that is there already; give others to compare it with, or the recipe "
        "that it is of",
    )
    if path is None or record is None:
        return of_words({"target": given["target"]}, given, shared, tuning)
    if not record.is_file() and Path(path).suffix not in FILES:
        require(
            given["target"] is None,
            f"both the recipe {path} and --target {given['target']} are given; give a recipe, "
            "whose settings are trained, or a density, whose samplers are compared",
        )
        refuse_of_a_density(point)
        return of_words({"recipe": path}, given, shared, tuning)
    plain = json_object(record).get("asked") if record.is_file() else None
    plain = read_config_file(Path(path)) if plain is None else plain
    require(
        "runs" not in plain,
        f"{record} is of runs that were there already; name these runs again",
    )
    return of_file(path, plain, given, shared, tuning)


def of_file(
    path: str, plain: dict[str, Any], given: dict[str, Any], shared: dict[str, Any], tuning: bool
) -> Comparison:
    """The question of a file, or of a folder that has one, changed by flags."""
    from stanley.comparing import Comparison
    from stanley.config import from_dict

    for name in ("samplers", "vary"):
        require(
            given[name] is None,
            f"--{name} names arms, and {path} has its own; leave it out, or change the file",
        )
    if plain.get("target") is None:
        refuse_of_a_density({name: given[name] for name in ("target", "shape", "log_density")})
    names = ("seeds", "first_seed", "tuning_seeds", "budget", "seconds", "trials", "by", "target")
    plain = plain | {"fields": dict(plain.get("fields") or {}) | shared}
    plain |= {name: given[name] for name in names if given[name] is not None}
    return from_dict(Comparison, plain | tuned_by_flags(given, tuning))


def refuse_of_a_density(flags: dict[str, Any]) -> None:
    unused = next((name for name, value in flags.items() if value is not None), None)
    require(
        unused is None,
        f"--{str(unused).replace('_', '-')} is of a density that is sampled, and a recipe is "
        "trained here; leave it out",
    )


def of_words(
    what: dict[str, Any], given: dict[str, Any], shared: dict[str, Any], tuning: bool
) -> Comparison:
    """Arms of one recipe or on one density, named by --samplers or --vary."""
    from stanley.comparing import Comparison
    from stanley.comparing.comparison import in_short

    ((kind, name),) = what.items()
    require(
        (given["samplers"] is None) != (given["vary"] is None),
        f"{name} is one {'recipe' if kind == 'recipe' else 'density'}; name the arms with "
        "--samplers langevin,stanley or with --vary FIELD=A,B, or say all of it in a .yaml file",
    )
    arms: dict[str, dict[str, Any]]
    if given["samplers"] is not None:
        names = [word.strip() for word in given["samplers"].split(",") if word.strip()]
        twice = next((word for word in names if names.count(word) > 1), None)
        require(twice is None, f"--samplers names {twice} twice; give it once")
        arms = {in_short(word): {"sampler": word} for word in names}
    else:
        ((field, values),) = parsed_grid((given["vary"],)).items()
        arms = {f"{field.rpartition('.')[2]}={in_short(v)}": {field: v} for v in values}
    known = {"seeds", "first_seed", "budget", "seconds", "tuning_seeds", "trials", "by"}
    rest: dict[str, Any] = {
        word: value for word, value in given.items() if word in known and value is not None
    }
    if kind == "target":
        rest = {"tuning_seeds": TUNING_SEEDS} | rest
    rest |= tuned_by_flags(given, tuning)
    if given["samplers"] is not None and tuning and not (given["grid"] or given["search"]):
        plain = Comparison(**what, arms=arms, fields=shared)
        usual = plain.subject.usual_grid(plain.base(), list(arms))
        of = "grid" if given["trials"] is None else "search"
        rest[of] = usual if of == "grid" else as_search(usual)
    return Comparison(**what, arms=arms, fields=shared, **rest)


def tuned_by_flags(given: dict[str, Any], tuning: bool) -> dict[str, Any]:
    """What the flags say of the tuning: a grid in place of a search, or the other way round."""
    nothing = {"grid": {}, "search": {}, "trials": None, "by": "tpe"}
    if not tuning:
        flag = next((name for name in nothing if given[name] is not None), None)
        require(flag is None, f"--{flag} is of the tuning, which --no-tuning leaves out")
        return nothing
    grid, search = parsed_grid(given["grid"] or ()), parsed_search(given["search"] or ())
    if grid:
        require(
            not (search or given["trials"] or given["by"]),
            "--grid is tried as a whole; leave it out, or --search, --trials and --by",
        )
        return nothing | {"grid": grid}
    return {"grid": {}, "search": search} if search else {}


def as_search(grid: dict[str, list[Any]]) -> dict[str, Any]:
    """Step sizes as a range from the smallest to the largest, and the other fields as choices."""
    ranges = {
        name: {"low": values[0], "high": values[-1], "log": True}
        for name, values in grid.items()
        if name.endswith("step_size")
    }
    return grid | ranges


def parsed_search(words: tuple[str, ...]) -> dict[str, Any]:
    """`sampler.step-size=1e-3:1:log` to {"sampler.step_size": {low: 0.001, high: 1, log: True}}."""
    found: dict[str, Any] = {}
    for word in words:
        ends = word.partition("=")[2].split(":")
        if len(ends) == 1 or "{" in word:
            found |= parsed_grid((word,))
            continue
        name = word.partition("=")[0].removeprefix("--").replace("-", "_")
        require(name not in found, f"{name} is given twice; give one range")
        try:
            low, high = (float(end) for end in ends[:2])
            require(ends[2:] in ([], ["log"]), "")
        except ValueError as error:
            raise StanleyError(
                f"{word!r} is no range; write FIELD=LOW:HIGH or FIELD=LOW:HIGH:log, such as "
                "sampler.step_size=1e-3:1:log"
            ) from error
        found[name] = {"low": low, "high": high, "log": ends[2:] == ["log"]}
    return found


def parsed_grid(words: tuple[str, ...]) -> dict[str, list[Any]]:
    """`optimizer.lr=1e-3,4e-3` to {"optimizer.lr": [0.001, 0.004]}."""
    from stanley.cli import values

    found: dict[str, list[Any]] = {}
    for word in words:
        name, given, text = word.partition("=")
        require(
            given and name and text,
            f"{word!r} names no values; write FIELD=A,B, such as sampler.step_size=0.01,0.02",
        )
        field = name.removeprefix("--").replace("-", "_")
        require(field not in found, f"{name} is given twice; give all its values at once")
        try:
            found[field] = values.load(f"[{text}]")
        except StanleyError as error:
            raise StanleyError(f"{word!r} cannot be read: {error}") from error
    return found
