"""Vectors in units of their own spread: each column less its mean, over its standard deviation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stanley.device import widest_float
from stanley.errors import StanleyError, require

#: Standard deviations that float64 can divide by, multiply with, and square.
SCALE = (1e-100, 1e100)
#: A spread of fewer than so many of float64's roundings of the values themselves is no spread.
ROUNDINGS = 1000
#: What to do about columns that are constant.
BY_FLAG = "leave them out with --data.columns, or pass --data.standardise false"


@dataclass(frozen=True, eq=False)
class Standardisation:
    """z = (x - mean)/std in each coordinate, and back again, x = mean + std·z.

    mean, std   (*event), float64; in the units of the data

    A density goes along by the change of variables. With S = Σ_i log std_i,

        log p_x(x) = log p_z(z) - S,   U_x(x) = U_z(z) + S,   ∇U_x(x) = ∇U_z(z)/std,

    so that log Z, KL and total variation are the same in both, and an entropy or a negative
    log-likelihood in x is that in z plus S. At temperature T, E_x = E_z + T·S. Raises StanleyError
    for numbers that are not finite, or a std that is not positive.
    """

    mean: Tensor
    std: Tensor

    def __post_init__(self) -> None:
        require(
            self.mean.shape == self.std.shape,
            f"mean has shape {tuple(self.mean.shape)}, std {tuple(self.std.shape)}, but both must "
            "have that of one point",
        )
        good = bool(self.mean.isfinite().all() and self.std.isfinite().all())
        low = float(self.std.min()) if good else 0.0
        require(
            good and low > 0,
            f"a mean or standard deviation is not finite, or one is {low:g}; all must be finite, "
            "and the standard deviations > 0",
        )

    @classmethod
    def of(cls, rows: Tensor) -> Standardisation:
        """Mean and standard deviation of the columns of rows (N, d), in float64."""
        x = rows.double()
        size = x.abs().amax(0).clamp(min=torch.finfo(x.dtype).tiny)  # squares must not overflow
        y = x / size
        mean = y.mean(0)
        return cls(mean * size, (y - mean).square().mean(0).sqrt() * size)

    @property
    def log_scale(self) -> float:
        """S = Σ_i log std_i, in nats."""
        return float(self.std.double().log().sum())

    def standardise(self, x: Tensor) -> Tensor:
        """z (…, *event) in float32, computed in float64 (float32 on MPS)."""
        mean, std = self.on(x.device)
        return ((x.to(mean.dtype) - mean) / std).float()

    def undo(self, z: Tensor) -> Tensor:
        """x (…, *event) in float64 (float32 on MPS): in float32 1.6e9 ± 10 would be one number."""
        mean, std = self.on(z.device)
        return mean + std * z.to(mean.dtype)

    def on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        kind = widest_float(device)
        return self.mean.to(device, kind), self.std.to(device, kind)

    def equals(self, other: Standardisation | None) -> bool:
        """Whether it has the same numbers, bit for bit."""
        return other is not None and all(
            torch.equal(ours.cpu(), theirs.cpu())
            for ours, theirs in ((self.mean, other.mean), (self.std, other.std))
        )


def standardisation_of(
    rows: Tensor, source: str, names: tuple[str, ...], cure: str = BY_FLAG
) -> Standardisation:
    """That of the training rows (N, d); raises StanleyError, with the columns' `names`, for a
    column that is constant there, up to rounding, or beyond what float64 can square.
    """
    x = rows.double()
    constant = (x == x[0]).all(0)
    if not constant.any():
        found = Standardisation.of(x)
        rounding = ROUNDINGS * torch.finfo(x.dtype).eps * x.abs().amax(0)
        constant = found.std <= rounding
        if not constant.any():
            low, high = float(found.std.min()), float(found.std.max())
            require(
                low > SCALE[0] and high < SCALE[1],
                f"{source} has columns with standard deviations from {low:.2g} to {high:.2g}, but "
                f"they must lie in {SCALE[0]:g} to {SCALE[1]:g}; rescale the columns to about 1",
            )
            return found
    columns = [name for name, bad in zip(names, constant.tolist(), strict=True) if bad]
    some = ", ".join(columns[:5]) + (", ..." if len(columns) > 5 else "")
    raise StanleyError(
        f"{source} has {len(columns)} column(s) that are constant in the {len(x)} rows for "
        f"training, up to rounding: {some}; {cure}"
    )
