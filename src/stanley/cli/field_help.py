"""All fields of a training configuration with their defaults and a line each, as `stanley train
--help` ends.

Everything is read from the source of the classes, where a comment stands beside each field, so that
nothing here can be out of date; and without importing them, so that no --help waits for torch.
"""

from __future__ import annotations

import ast
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).parents[1]

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


class FieldHelp(NamedTuple):
    """A field as its class states it; an empty `default` is none,
    so that the field must be given.
    """

    name: str
    default: str
    about: str
    group: str


def fields_of(module: str, class_name: str) -> list[FieldHelp]:
    """The fields of a dataclass but `kind`; a comment on a line of its own begins a group."""
    lines = (SOURCE / module).read_text(encoding="utf-8").splitlines()
    found, group = [], ""
    for node in class_in(module, class_name).body:
        if not isinstance(node, ast.AnnAssign) or "ClassVar" in ast.unparse(node.annotation):
            continue
        line, above = lines[node.lineno - 1], lines[node.lineno - 2].strip()
        group = above.removeprefix("# ") if above.startswith("# ") else group
        name = ast.unparse(node.target)
        if name != "kind":
            found.append(FieldHelp(name, default_of(node), line.partition("  # ")[2], group))
    return found


def default_of(node: ast.AnnAssign) -> str:
    """As it is written in a configuration."""
    if node.value is None:
        return ""
    if isinstance(node.value, ast.Call):  # Quantile(0.9), or a factory
        values = [
            ast.unparse(a) for a in (*node.value.args, *(k.value for k in node.value.keywords))
        ]
        return (
            f"quantile {values[0]}"
            if ast.unparse(node.value.func) == "Quantile"
            else values[0].lower()
        )
    value = ast.literal_eval(node.value)
    if isinstance(value, tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)


def kinds_of(module: str, union: str) -> Iterator[tuple[str, str, str]]:
    """Kind, module and class of each member of a union, followed into the modules that it is
    imported from.
    """
    tree = parsed(module)
    imported = {
        alias.name: f"{(node.module or '').removeprefix('stanley.').replace('.', '/')}.py"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assigned = {
        ast.unparse(node.targets[0]): node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
    }
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    members = [node for node in ast.walk(assigned[union]) if isinstance(node, ast.Name)]
    for name in (
        node.id for node in sorted(members, key=lambda node: (node.lineno, node.col_offset))
    ):
        where = module if name in classes | set(assigned) else imported[name]
        if has_class(where, name):
            yield kind_of(where, name), where, name
        else:  # a union of its own
            yield from kinds_of(where, name)


def parsed(module: str) -> ast.Module:
    return ast.parse((SOURCE / module).read_text(encoding="utf-8"))


def has_class(module: str, name: str) -> bool:
    return any(isinstance(node, ast.ClassDef) and node.name == name for node in parsed(module).body)


def class_in(module: str, name: str) -> ast.ClassDef:
    return next(n for n in parsed(module).body if isinstance(n, ast.ClassDef) and n.name == name)


def kind_of(module: str, class_name: str) -> str:
    for node in class_in(module, class_name).body:
        if (
            isinstance(node, ast.AnnAssign)
            and ast.unparse(node.target) == "kind"
            and node.value is not None
        ):
            return str(ast.literal_eval(node.value))
    raise LookupError(f"{class_name} in {module} has no kind")


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
