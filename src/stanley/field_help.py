"""The fields of a configuration's classes with their defaults and a line each, from their source.

A comment stands beside each field, so that nothing here can be out of date; and nothing is
imported, so that no --help waits for torch.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).parent


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
