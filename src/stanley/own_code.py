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
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from stanley.errors import StanleyError, did_you_mean, in_one_line, require

#: The files of users' own code, as tracebacks name them.
FILES: set[str] = set()


class OwnPart:
    """What stands in a configuration for a part of the user's own until that is handed over.

    part     what it is: the flag that names it
    handed   how it is handed over in Python, {} for what it is called
    """

    part: ClassVar[str]
    handed: ClassVar[str]

    @property
    def called(self) -> str:
        raise NotImplementedError

    @property
    def why_not(self) -> str:
        """Why nothing can be done with it."""
        raise NotImplementedError


class GivenInPython(OwnPart):
    """The same of a part that was an object in Python."""

    class_: str

    @property
    def called(self) -> str:
        return self.class_

    @property
    def about(self) -> str:
        """What else is known of it."""
        return ""

    @property
    def why_not(self) -> str:
        how = self.handed.format(self.called)
        return f"{self.part} {self.called}{self.about}, given in Python, must be handed over: {how}"


class NamedByUser(OwnPart):
    """The same of a part that was named, `module:Name` or `file.py:Name`."""

    name: str

    @property
    def called(self) -> str:
        return self.name.rpartition(":")[2]

    @property
    def why_not(self) -> str:
        how = self.handed.format(self.called)
        return (
            f"{self.part} {self.name} is code that is imported only where you name it: pass "
            f"--{self.part} {self.name} (or --trust), or in Python {how}"
        )


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
    parameters = parameters_of(name, found, arguments)
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


def parameters_of(
    name: str, found: Callable[..., Any], arguments: dict[str, Any]
) -> Mapping[str, inspect.Parameter]:
    """The parameters of a function or class; raises StanleyError for an argument that is none."""
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
    return parameters


def with_arguments(
    name: str, function: Callable[..., Any], arguments: dict[str, Any]
) -> Callable[..., Any]:
    """The function with some of its arguments filled in, each of which it must have."""
    parameters_of(name, function, arguments)
    return partial(function, **arguments) if arguments else function


def value_of(value: Any) -> Any:
    """An argument of the user's own code as JSON-ready values, the same in every process."""
    if hasattr(value, "tolist"):  # a tensor or an array
        return value.tolist()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, bool | int | float | str | list | tuple | dict | type(None)):
        return value
    if hasattr(value, "__qualname__"):  # a class or a function
        return value.__qualname__
    # a repr that is object's own holds an address
    told = type(value).__repr__ is not object.__repr__
    return repr(value) if told else type(value).__qualname__
