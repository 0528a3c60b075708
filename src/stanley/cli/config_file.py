"""Files of fields: YAML and TOML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stanley.cli import values
from stanley.errors import StanleyError, in_one_line, require
from stanley.reading import read_whole


def read_config_file(path: Path) -> dict[str, Any]:
    """A .yaml, .yml or .toml file of fields, or the config.json of a run, which is YAML as well."""
    require(
        path.suffix in (".toml", ".yaml", ".yml", ".json"),
        f"--config {path}: give a .yaml or .toml file",
    )
    content = read_whole(path, values.LARGEST, "give --config a .yaml or .toml file")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StanleyError(
            f"--config {path} is not UTF-8 text ({error}); save it as UTF-8"
        ) from error
    try:
        fields = load_toml(text) if path.suffix == ".toml" else values.load(text)
    except (ValueError, RecursionError) as error:
        why = error if isinstance(error, StanleyError) else in_one_line(error)
        raise StanleyError(f"--config {path} cannot be read: {why}") from error
    fields = {} if fields is None else fields
    require(isinstance(fields, dict), f"--config {path} must hold fields, one `name: value` a line")
    return fields


def load_toml(text: str) -> dict[str, Any]:
    try:
        import tomllib
    except ImportError:  # Python 3.10
        import tomli as tomllib
    return tomllib.loads(text)
