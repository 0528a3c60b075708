"""How a command ends: lines for a person, or one JSON object for a program."""

from __future__ import annotations

import json
from typing import Any


def show(value: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    print(json.dumps(value, ensure_ascii=False) if as_json else "\n".join(lines))
