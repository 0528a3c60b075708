"""Laws in the plane whose density is known exactly: rings, a circle of Gaussians, two moons.

`sample(n, generator)` draws (n, 2) float32 points; `log_density` maps (B, 2) -> (B,) in its
argument's dtype.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from stanley.batches import in_chunks
from stanley.data.base import Dataset, require_seed
from stanley.errors import require
from stanley.streams import as_generator, data_stream

MOST = 100_000_000  # points that are drawn
MOST_MODES = 10_000


@dataclass(frozen=True)
class Rings:
    """Concentric rings: ρ ~ Σ_k w_k N(r_k, σ²), angle uniform, x = ρ·(cos θ, sin θ).

    With r = |x| = |ρ|:   p(x) = Σ_k w_k [N(r; r_k, σ²) + N(-r; r_k, σ²)] / (2πr).

    The divisor is 2πr, not 2πr_k, and the second term folds a negative ρ back. p grows as 1/r at
    the origin, so log p(0) = +inf, which is its true value. `weights` are normalised; None means
    equal ones.
    """

    num: int = 100_000  # number of points
    radii: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0)  # radii of the rings
    std: float = 0.15  # σ, the width of a ring
    weights: tuple[float, ...] | None = None  # of the rings; null for equal ones
    seed: int = 0  # seed of the points
    kind: Literal["rings"] = "rings"

    def __post_init__(self) -> None:
        _check(self.num, self.std, self.seed)
        good = 0 < len(self.radii) <= MOST_MODES and all(0 <= r < math.inf for r in self.radii)
        require(
            good,
            f"data.radii is {self.radii}, but must be one or more numbers >= 0; try 1 2 3 4",
        )
        if self.weights is not None:
            good = all(0 < w < math.inf for w in self.weights) and len(self.weights) == len(
                self.radii
            )
            wanted = f"must be {len(self.radii)} numbers > 0, one for each of data.radii"
            require(good, f"data.weights is {self.weights}, {wanted}; leave it out for equal ones")

    def load(self) -> Dataset:
        return _draw(self)

    def _shares(self) -> list[float]:
        weights = self.weights or (1.0,) * len(self.radii)
        return [w / sum(weights) for w in weights]

    def sample(
        self, n: int, generator: torch.Generator | None = None, *, seed: int | None = None
    ) -> Tensor:
        generator = as_generator(generator, seed, "sample")
        device = generator.device
        shares = torch.tensor(self._shares(), device=device)
        ring = torch.multinomial(shares, n, replacement=True, generator=generator)
        noise = torch.randn(n, generator=generator, device=device)
        rho = torch.tensor(self.radii, device=device)[ring] + self.std * noise
        angle = 2 * math.pi * torch.rand(n, generator=generator, device=device)
        return torch.stack([rho * angle.cos(), rho * angle.sin()], -1)

    def log_density(self, x: Tensor) -> Tensor:  # (B, 2) -> (B,)
        first, second = x.unbind(-1)
        r = torch.hypot(first, second)[:, None]  # (B, 1)
        radii, log_w = x.new_tensor(self.radii), x.new_tensor(self._shares()).log()
        s2 = 2 * self.std**2
        folded = torch.logaddexp(-((r - radii) ** 2) / s2, -((r + radii) ** 2) / s2)
        log_radial = torch.logsumexp(log_w + folded, -1) - 0.5 * math.log(math.pi * s2)
        return log_radial - (2 * math.pi * r[:, 0]).log()


@dataclass(frozen=True)
class GMM:
    """`modes` equal Gaussians on a circle: p(x) = 1/M Σ_k N(x; c_k, σ²I).

    The centres are c_k = R·(cos 2πk/M, sin 2πk/M).
    A point within mode_radius = 3σ of c_k belongs to mode k; 1 - exp(-9/2) = 98.9 % of the mode's
    own do.
    """

    num: int = 100_000  # number of points
    modes: int = 8  # M, the number of Gaussians
    radius: float = 2.0  # R, of the circle they lie on
    std: float = 0.2  # σ, of a Gaussian
    seed: int = 0  # seed of the points
    kind: Literal["gmm"] = "gmm"

    def __post_init__(self) -> None:
        _check(self.num, self.std, self.seed)
        require(
            1 <= self.modes <= MOST_MODES,
            f"data.modes is {self.modes}, but must be at least 1; try 8",
        )
        require(
            0 <= self.radius < math.inf,
            f"data.radius is {self.radius}, but must be at least 0; try 2",
        )

    def load(self) -> Dataset:
        return _draw(self, modes=self.centres().float(), mode_radius=3 * self.std)

    def centres(self) -> Tensor:
        """(M, 2), float64."""
        angle = 2 * math.pi * torch.arange(self.modes, dtype=torch.float64) / self.modes
        return self.radius * torch.stack([angle.cos(), angle.sin()], -1)

    def sample(
        self, n: int, generator: torch.Generator | None = None, *, seed: int | None = None
    ) -> Tensor:
        generator = as_generator(generator, seed, "sample")
        device = generator.device
        mode = torch.randint(self.modes, (n,), generator=generator, device=device)
        noise = torch.randn((n, 2), generator=generator, device=device)
        return self.centres().to(noise)[mode] + self.std * noise

    def log_density(self, x: Tensor) -> Tensor:  # (B, 2) -> (B,)
        square = (x[:, None] - self.centres().to(x)).square().sum(-1)  # (B, M)
        log_norm = math.log(self.modes * 2 * math.pi * self.std**2)
        return torch.logsumexp(-square / (2 * self.std**2), -1) - log_norm


@dataclass(frozen=True)
class Moons:
    """Two interleaved half circles, angle t ~ U[0, π], with Gaussian noise:

        p(x) = ½ Σ_m 1/π ∫_0^π N(x; c_m(t), σ²I) dt,

        c_1 = (cos t, sin t),   c_2 = (1 - cos t, ½ - sin t).

    The integral is a Gauss-Legendre sum. At distance r from the half circle's centre the integrand
    is a bump of width w = σ/√r in t; nodes lie at most h = π²/2n apart, and a sum over a bump is
    off by 2·exp(-2π²w²/h²), relative. n = 32 + ⌈20/σ⌉ nodes keep that below 1e-13 up to r = 10.
    What is left is the rounding of the nodes next to the ends, 1e-10 relative; it counts behind the
    half circle only.
    """

    num: int = 100_000  # number of points
    std: float = 0.1  # σ, the width of a moon
    seed: int = 0  # seed of the points
    kind: Literal["moons"] = "moons"

    def __post_init__(self) -> None:
        _check(self.num, self.std, self.seed)
        require(
            self.std >= 0.01,
            f"data.std is {self.std}, but must be at least 0.01 for moons; try 0.1",
        )

    def load(self) -> Dataset:
        return _draw(self)

    @staticmethod
    def _arc(t: Tensor, moon: Tensor | int) -> Tensor:
        """c_m(t), (..., 2): moon 0 opens downwards, moon 1 is its turned and shifted copy."""
        sign = 1 - 2 * moon
        return torch.stack([moon + sign * t.cos(), 0.5 * moon + sign * t.sin()], -1)

    def sample(
        self, n: int, generator: torch.Generator | None = None, *, seed: int | None = None
    ) -> Tensor:
        generator = as_generator(generator, seed, "sample")
        device = generator.device
        moon = torch.randint(2, (n,), generator=generator, device=device)
        angle = math.pi * torch.rand(n, generator=generator, device=device)
        noise = torch.randn((n, 2), generator=generator, device=device)
        return self._arc(angle, moon) + self.std * noise

    def log_density(self, x: Tensor) -> Tensor:  # (B, 2) -> (B,)
        nodes, weights = _gauss_legendre(32 + math.ceil(20 / self.std))
        t = torch.from_numpy(math.pi / 2 * (nodes + 1))  # (n,); weights of sum 2 become dt/π
        arcs = torch.cat([self._arc(t, 0), self._arc(t, 1)]).to(x)  # (2n, 2)
        log_w = torch.from_numpy(weights / 4).log().repeat(2).to(x)  # ½ for each moon
        log_norm = math.log(2 * math.pi * self.std**2)

        def log_sum(part: Tensor) -> Tensor:
            first, second = part.unbind(-1)
            square = (first[:, None] - arcs[:, 0]).square()
            square = square + (second[:, None] - arcs[:, 1]).square()
            return torch.logsumexp(log_w - square / (2 * self.std**2), -1) - log_norm

        return in_chunks(log_sum, x, 4096)  # for the memory


@lru_cache(maxsize=8)
def _gauss_legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(n)


def _check(num: int, std: float, seed: int) -> None:
    require_seed(seed)
    require(
        num >= 20,
        f"data.num is {num}, but must be at least 20 (a tenth is drawn for testing); try 100000",
    )
    require(num <= MOST, f"data.num is {num}, but must be at most {MOST:,}; try 100000")
    require(0 < std < math.inf, f"data.std is {std}, but must be > 0; try 0.1")


def _draw(
    law: Rings | GMM | Moons, modes: Tensor | None = None, mode_radius: float = 0.0
) -> Dataset:
    """`num` points for training, and a tenth as many again, drawn independently, for testing."""
    generator = data_stream(law.seed)
    train = law.sample(law.num, generator)
    test = law.sample(law.num // 10, generator)
    return Dataset(train, test, log_density=law.log_density, modes=modes, mode_radius=mode_radius)
