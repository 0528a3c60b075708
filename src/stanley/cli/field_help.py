"""All fields of a training configuration with their defaults and a line each, as `stanley train
--help` ends.
"""

from __future__ import annotations

import shutil
import textwrap

from stanley.field_help import FieldHelp, fields_of, kinds_of

#: Field of the configuration -> the module and the name of the union of its kinds.
KINDS = {
    "data": ("data/__init__.py", "AnyData"),
    "network": ("networks/__init__.py", "AnyNetwork"),
    "sampler": ("samplers/__init__.py", "AnySampler"),
    "optimizer": ("training/optim.py", "AnyOptimizer"),
    "objective": ("training/objectives/named.py", "AnyObjective"),
}
#: Field -> the module and the class of what it holds when it is not null.
OPTIONAL = {
    "objective.growth": ("training/objectives/contrastive.py", "Growth"),
    "objective.augment": ("training/augment.py", "Augment"),
    "objective.adapt": ("samplers/adapt.py", "RobbinsMonro"),
}
#: Parts that may be the user's own, by name -> what is named.
OWN = {
    "data": "a function that returns data",
    "network": "a network",
    "sampler": "a sampler",
    "objective": "a loss or an objective",
}
COLUMN = 36  # where what a field means begins


def field_lines() -> list[str]:
    """The whole help, as wide as the terminal."""
    lines = ["Fields of the configuration", ""]
    lines.append("Each is a flag, and a recipe may set another default than the one shown here.")
    lines += fields_in_groups("", fields_of("training/config.py", "TrainConfig"))
    for part, (module, union) in KINDS.items():
        lines += ["", f"Kinds of {part}: --{part} KIND, then the fields of this kind"]
        if part in OWN:
            lines.append(f"  module:Name or file.py:Name, {OWN[part]} of your own")
        for kind, where, class_name in kinds_of(module, union):
            lines.append(f"  {kind}")
            lines += fields_in_groups(f"{part}.", fields_of(where, class_name), indent=4)
    return lines


def fields_in_groups(above: str, fields: list[FieldHelp], indent: int = 0) -> list[str]:
    """A line for each field and for those that it holds when it is not null, under the heads of
    their groups.
    """
    lines, group = [], ""
    for field in fields:
        if field.group != group:
            group = field.group
            lines += [*([] if indent else [""]), " " * indent + group]
        path, at = f"{above}{field.name}", indent + (2 if group else 0)
        lines += described(path, field, at)
        if path in OPTIONAL:
            for inner in fields_of(*OPTIONAL[path]):
                lines += described(f"{path}.{inner.name}", inner, at)
    return lines


def described(path: str, field: FieldHelp, indent: int) -> list[str]:
    """`--batch 128     data points, and chains, of an iteration`, wrapped beside its column."""
    width = min(120, shutil.get_terminal_size((100, 24)).columns)
    flag = f"{' ' * indent}--{path.replace('_', '-')} {field.default}".rstrip()
    start = f"{flag:<{COLUMN}} " if len(flag) <= COLUMN else f"{flag}  "
    about = field.about
    if about[:2].isalpha():  # a word, not a symbol
        about = about[0].upper() + about[1:]
    return textwrap.wrap(
        f"{start}{about}.", width, subsequent_indent=" " * (COLUMN + 1), break_on_hyphens=False
    )
