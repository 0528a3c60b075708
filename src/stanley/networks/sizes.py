"""How large a network may be said to be, so that a small file cannot ask for a machine's memory."""

from __future__ import annotations

from stanley.errors import require

MOST_UNITS = 65_536
MOST_LAYERS = 1_000


def require_size(name: str, value: int, most: int) -> None:
    require(
        1 <= value <= most,
        f"network.{name} is {value}, but must be at least 1 and at most {most:,}",
    )
