"""Configurations of former versions, in the form of today."""

from __future__ import annotations

from typing import Any

from stanley.config import OWN
from stanley.errors import require

#: Fields that stood beside `steps` and `batch` before they became those of the objective.
NOW_IN_OBJECTIVE = (
    *("chain_steps", "growth", "start", "bank_size", "restart", "free_stuck", "augment"),
    *("energy_l2", "kl_weight", "adapt", "gap_limit", "spread_limit"),
)


def of_a_run(values: dict[str, Any]) -> dict[str, Any]:
    """The same of a whole configuration, that of a run or a model: a field that it lacks has the
    value that the program of its time had, which never standardised vectors.
    """
    values, data = up_to_date(values), values.get("data")
    if not isinstance(data, dict) or "standardise" in data:
        return values
    if data.get("kind") in ("array", *OWN):
        return values | {"data": data | {"standardise": False}}
    return values


def up_to_date(values: dict[str, Any]) -> dict[str, Any]:
    """The plain values of a configuration, or a part of one, as today's `TrainConfig` has them.

    Called wherever such values come from a file: a run, a checkpoint, a packed model, --config.
    Values that are in today's form already are returned as they are. Raises StanleyError for a
    mixture of both forms.
    """

    def first(name: object) -> str:  # `adapt` of `adapt.rate`, as a file may also write it
        return str(name).partition(".")[0]

    moved = {name: value for name, value in values.items() if first(name) in NOW_IN_OBJECTIVE}
    if not moved:
        return values
    names = ", ".join(moved)
    require(
        all(first(name) != "objective" for name in values),
        f"the configuration has {names} beside objective, of which they are fields now; write "
        f"objective.{next(iter(moved))}, or put them under objective",
    )
    rest = {name: value for name, value in values.items() if name not in moved}
    return rest | {"objective": {"kind": "contrastive", **moved}}
