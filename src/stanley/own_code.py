"""Code of the user's own, by its name: `module:Name` or `path/file.py:Name`.

Nothing here is called for a name that stands in a file of a run or of a model: only for one that
the user has named, or trusts.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stanley.errors import StanleyError, did_you_mean, in_one_line, require

#: The files of users' own code, as tracebacks name them.
FILES: set[str] = set()


def is_named(word: object) -> bool:
    """Whether a word is `module:Name` or `file.py:Name`, and not the name of a kind."""
    return isinstance(word, str) and ":" in word


def imported(name: str, what: str = "target") -> Any:
    """The object that `module:Name` or `path/file.py:Name` names.

    As in Python, the current folder is searched first. Raises StanleyError, with `what` the name
    is for, where it cannot be imported; whatever the user's module raises is told in one line.
    """
    where, _, attribute = name.rpartition(":")
    require(where and attribute, f"{what} {name!r} must be module:function or file.py:function")
    try:
        module = from_file(Path(where)) if where.endswith(".py") else from_path(where)
    except StanleyError:
        raise
    except KeyboardInterrupt:
        raise
    except (
        BaseException
    ) as error:  # whatever a user's module does when it is imported, sys.exit() too
        raise StanleyError(f"cannot import {where}: {in_one_line(error)}") from error
    FILES.add(getattr(module, "__file__", None) or where)
    try:
        return getattr(module, attribute)
    except AttributeError:
        public = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise StanleyError(
            f"{where} has no {attribute!r}: {did_you_mean(attribute, public)}"
        ) from None


def from_path(module: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    return importlib.import_module(module)


def from_file(path: Path) -> Any:
    """The module of a file, under a name that is nobody else's: a torch.py is not torch.

    It is run once for all that is named in it, and again where the file has changed.
    """
    require(path.is_file(), f"{path} is not a file; give module:function or file.py:function")
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    name = f"stanley_target_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    there = sys.modules.get(name)
    if there is not None and getattr(there, "_stanley_content", None) == content:
        return there
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    vars(module)["_stanley_content"] = content
    return module


def checksum(name: str) -> str | None:
    """The first 16 digits of SHA-256 of the file that `name` was imported from; None where it comes
    from no file. What that file imports in turn is not part of it.
    """
    where = name.rpartition(":")[0]
    module = None if where.endswith(".py") else sys.modules.get(where)
    file = where if where.endswith(".py") else getattr(module, "__file__", None)
    try:
        return None if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
    except OSError:
        return None


def called(name: str, found: Callable[..., Any], arguments: dict[str, Any], **known: Any) -> Any:
    """found(**arguments), with those of `known` that it has a parameter for and that are not given.

    Raises StanleyError for an argument that it does not take, for one that is missing, and for
    whatever it raises.
    """
    try:
        parameters = inspect.signature(found).parameters
    except (TypeError, ValueError):  # written in C, it says nothing of itself
        parameters = {}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for argument in arguments:
        require(
            argument in parameters or takes_any or not parameters,
            f"{name} takes no argument {argument!r}: {did_you_mean(argument, parameters)}"
            if parameters
            else f"{name} takes no arguments, but {argument!r} is given",
        )
    arguments = {k: v for k, v in known.items() if k in parameters} | arguments
    missing = [
        n
        for n, p in parameters.items()
        if p.default is p.empty
        and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        and n not in arguments
    ]
    require(not missing, f"{name} needs {', '.join(missing)}; give a value for each")
    try:
        return found(**arguments)
    except StanleyError:
        raise
    except (Exception, SystemExit) as error:
        raise StanleyError(f"{name} raised {in_one_line(error)}") from error
