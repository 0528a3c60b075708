"""How far a set of draws can be trusted: rank-normalised R̂, effective sample sizes, Monte Carlo
errors.

All functions take `draws` (num_draws, B, *event), B chains, as `run_chains(..., keep_every=1)`
returns them, and give one float64 number per coordinate, (*event), on the device of the draws (on
the CPU from MPS, which has no float64). One sort or Fourier transform each, O(n log n) a coordinate
for all n = num_draws·B draws, all coordinates at once in blocks of bounded memory. A coordinate
that never moves has no R̂, ESS or error: NaN.

Each chain is cut in two halves, so that a chain that drifts disagrees with itself; of an odd number
of draws the middle one is left out. Not true: that a good value proves convergence. A mode that no
chain has visited leaves no trace in the draws, and R̂ is close to 1 for chains that all started in
the same place and are stuck there.

Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), Rank-normalization, folding, and localization:
an improved R̂.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.fft import next_fast_len
from scipy.special import betaincinv
from torch import Tensor

from stanley.errors import require

RHAT_LIMIT = 1.01  # Vehtari et al. (2021), section 4
ESS_LIMIT = 400  # the same
BLOCK = 1 << 23  # draws worked on at once; 64 MB, a few times that with the transforms

Kernel = Callable[[Tensor], Tensor]  # (d, B, n) -> (d,) float64: coordinates, chains, draws


def rhat(draws: Tensor) -> Tensor:
    """R̂ = √((B/W + n - 1)/n), the larger of that of the normal scores and that of the folded
    normal scores.

    B/n is the variance of the half-chains' means, W the mean of their variances, both of the scores
    z = Φ⁻¹((r - 3/8)/(S + 1/4)) of the ranks r among all S draws: defined for draws without a
    variance, and the same for any increasing map of x. Folded at the median, |x - median|, the same
    sees chains that differ in spread, but depends on the map.
    Needs two chains and four draws. Vehtari et al. (2021), eq. (4), (14) and section 4.1.
    """
    check_draws(draws, "rhat", chains=2)
    return over_event(draws, lambda x: rank_rhat(half := half_chains(x), normal_scores(half)))


def ess_bulk(draws: Tensor) -> Tensor:
    """Effective sample size of the normal scores of the ranks: how well the centre of the law is
    known.

    Vehtari et al. (2021), section 4.3.
    """
    check_draws(draws, "ess_bulk")
    return over_event(draws, lambda x: effective(normal_scores(half_chains(x))))


def ess_tail(draws: Tensor) -> Tensor:
    """The smaller of the effective sample sizes of the 5 % and the 95 % quantile.

    Vehtari et al. (2021), section 4.3.
    """
    check_draws(draws, "ess_tail")
    return over_event(draws, tail)


def ess_quantile(draws: Tensor, prob: float) -> Tensor:
    """Effective sample size of the indicator of x ≤ q, q the empirical quantile at `prob`."""
    check_draws(draws, "ess_quantile")
    check_prob(prob)
    return over_event(draws, lambda x: quantile_ess(x, ordered_draws(x), prob))


def ess_mean(draws: Tensor) -> Tensor:
    """S/τ, τ = Σ_t ρ(t) over all t from -∞ to ∞: as many independent draws give the mean as
    accurately.

    τ is summed to where ρ(2k) + ρ(2k+1) first falls below zero, and those sums are made to decrease
    (Geyer 1992). ρ takes the variance between half-chains in, so that chains that disagree count as
    correlated. Not true: that more chains make up for short ones; where a half-chain is only a few
    τ long, ρ is biased, however many there are.
    """
    check_draws(draws, "ess_mean")
    return over_event(draws, lambda x: effective(half_chains(x)))


def mcse_mean(draws: Tensor) -> Tensor:
    """Standard error of the mean over all draws, sd/√ess_mean;
    means nothing for a law without a variance.
    """
    check_draws(draws, "mcse_mean")
    return over_event(draws, lambda x: pooled_sd(x) / effective(half_chains(x)).sqrt(), degree=1)


def mcse_sd(draws: Tensor) -> Tensor:
    """Standard error of the standard deviation, by the delta method: √(Var((x - m)²)/ESS) / 2sd.

    The ESS is that of (x - m)² itself; for chains that are Gaussian and anticorrelated that of x
    would be too large.
    """
    check_draws(draws, "mcse_sd")

    def kernel(x: Tensor) -> Tensor:
        square = (x - x.mean((1, 2), keepdim=True)) ** 2
        variance = square.mean((1, 2))
        return (
            square.var((1, 2), correction=0) / effective(half_chains(square)) / variance
        ).sqrt() / 2

    return over_event(draws, kernel, degree=1)


def mcse_quantile(draws: Tensor, prob: float) -> Tensor:
    """Standard error of the quantile at `prob`: half the distance between the draws one standard
    error to each side.

    With ESS effective draws the share below the true quantile is Beta(ESS·p + 1, ESS·(1 - p) + 1);
    its 16 % and 84 % points, read back in the ordered draws, are the two sides. Vehtari et al.
    (2021), section 4.4.
    """
    check_draws(draws, "mcse_quantile")
    check_prob(prob)

    def kernel(x: Tensor) -> Tensor:
        ordered, size = ordered_draws(x), x[0].numel()
        ess = quantile_ess(x, ordered, prob).cpu().numpy()
        low, high = (
            torch.from_numpy(betaincinv(ess * prob + 1, ess * (1 - prob) + 1, p))
            for p in (0.1586553, 0.8413447)
        )
        left = (low * size - 1).floor().clamp(min=0).long().to(x.device)
        right = (high * size - 1).ceil().clamp(max=size - 1).long().to(x.device)
        return (ordered.gather(1, right[:, None]) - ordered.gather(1, left[:, None]))[:, 0] / 2

    return over_event(draws, kernel, degree=1)


def nested_rhat(draws: Tensor, num_super: int) -> Tensor:
    """R̂ for many short chains: √(1 + B/W) between and within `num_super` super-chains.

    Chains 0 … M-1 make the first super-chain, the next M the second; all M of one should start at
    the same point, so that their disagreement is noise and that between super-chains is the memory
    of the start. B is the variance of the super-chains' means; W is the mean over super-chains of
    the variance of their chains' means (0 if M = 1) plus the mean variance within their chains (0
    for a single draw). The draws are taken as they are, neither split nor ranked. One draw is
    enough. Margossian, Hoffman, Sountsov, Riou-Durand, Vehtari & Gelman (2024), Nested R̂, eq.
    (6)-(8).
    """
    check_draws(draws, "nested_rhat", chains=2, least=1)
    n, chains = draws.shape[:2]
    require(
        2 <= num_super <= chains and chains % num_super == 0,
        f"nested_rhat: num_super is {num_super}, must be at least 2 and divide the {chains} chains",
    )
    require(
        n > 1 or num_super < chains,
        f"nested_rhat: one draw of {chains} chains in {num_super} super-chains leaves nothing to"
        " compare within; keep more draws or put at least two chains in each",
    )

    def kernel(x: Tensor) -> Tensor:
        grouped = x.unflatten(1, (num_super, -1))  # (d, K, M, n)
        means = grouped.mean(3)
        between = means.mean(2).var(1)
        among = means.var(2) if means.shape[2] > 1 else torch.zeros_like(means[:, :, 0])
        within = grouped.var(3).mean(2) if n > 1 else torch.zeros_like(among)
        return (1 + between / (among + within).mean(1)).sqrt()

    return over_event(draws, kernel)


def autocorrelation(draws: Tensor, max_lag: int | None = None) -> Tensor:
    """ρ(t), the mean over chains of `autocorrelation_by_chain`: (max_lag + 1, *event);
    exactly 1 at lag 0.
    """
    return autocorrelation_by_chain(draws, max_lag).mean(1)


def autocorrelation_by_chain(draws: Tensor, max_lag: int | None = None) -> Tensor:
    """ρ_b(t) = c_b(t) / c̄(0): (max_lag + 1, B, *event).

    c_b(t) = 1/n Σ_{i<n-t} (x_{i,b} - m)(x_{i+t,b} - m),   c̄(0) = mean_b c_b(0),   m the mean over
    i and b.

    m and c̄(0) are pooled across chains, so chains that stay apart show as a ρ that does not fall
    to 0; with a mean of its own each, a chain stuck in one mode would look mixed. The mean over
    chains is exactly 1 at lag 0; one chain's value there is its share of the spread about m. The
    divisor is n, not n - t: ρ shrinks by (1 - t/n), and stays a positive definite sequence. A
    constant coordinate has no autocorrelation: NaN. `max_lag` is min(n - 1, 200, n // 2) but at
    least 1 when left out.
    """
    check_draws(draws, "autocorrelation", least=2)
    n = len(draws)
    lags = max(1, min(n - 1, 200, n // 2)) if max_lag is None else max_lag
    require(1 <= lags < n, f"max_lag is {lags}, must be between 1 and {n - 1} for {n} draws")

    def kernel(x: Tensor) -> Tensor:
        centred = x - x.mean((1, 2), keepdim=True)
        covariance = from_spectrum(power(centred, lags), n, lags)
        return covariance / (centred**2).mean((1, 2))[:, None, None]

    rho = over_event(draws, kernel)  # (*event, B, lags + 1)
    return rho.movedim((-1, -2), (0, 1))


@dataclass(frozen=True)
class ChainSummary:
    """Every coordinate's mean with its error, and what says whether to believe it.

    The `worst_…` are over the coordinates that have the number, NaN if none has.
    """

    num_draws: int  # per chain
    num_chains: int
    mean: Tensor  # (*event)      of all draws
    sd: Tensor  # (*event)        of all draws
    mcse: Tensor  # (*event)      standard error of the mean
    ess_bulk: Tensor  # (*event)
    ess_tail: Tensor  # (*event)
    rhat: Tensor  # (*event)
    constant: Tensor  # (*event)  bool: the same number in every draw of every chain
    # (B,)     bool: the chain holds a non-finite draw; its coordinates have no other number
    nonfinite: Tensor

    @property
    def worst_rhat(self) -> float:
        return worst(self.rhat, torch.max)

    @property
    def worst_ess_bulk(self) -> float:
        return worst(self.ess_bulk, torch.min)

    @property
    def worst_ess_tail(self) -> float:
        return worst(self.ess_tail, torch.min)

    @property
    def worst_mcse(self) -> float:
        """In units of the coordinate's standard deviation."""
        return worst(self.mcse / self.sd, torch.max)


def summarise(draws: Tensor) -> ChainSummary:
    """Mean, sd, MCSE, bulk and tail ESS and R̂ of every coordinate; needs two chains and four
    draws.

    A coordinate with a non-finite draw is not judged (NaN) and its chains are named in `nonfinite`.
    """
    check_draws(draws, "summarise", chains=2, finite=False)
    lost = ~draws.isfinite()
    bad = lost.flatten(0, 1).any(0)  # (*event)
    constant = (draws == draws[:1, :1]).flatten(0, 1).all(0) & ~bad

    def kernel(x: Tensor) -> Tensor:
        half = half_chains(x)
        scores = normal_scores(half)
        bulk, of_mean = effective(scores), effective(half)
        return torch.stack([of_mean, bulk, tail(x), rank_rhat(half, scores)], 1)

    def two_moments(x: Tensor) -> Tensor:
        return torch.stack([x.mean((1, 2)), pooled_sd(x)], 1)

    moments = over_event(draws, two_moments, moving=False, degree=1)
    # a coordinate that is all zero is constant: NaN
    judged = over_event(draws.masked_fill(bad, 0), kernel)
    mean, sd = torch.where(bad[..., None].to(moments.device), math.nan, moments).unbind(-1)
    of_mean, bulk, tails, r = judged.unbind(-1)
    nonfinite = lost.reshape(*lost.shape[:2], -1).any(2).any(0)
    return ChainSummary(
        len(draws),
        draws.shape[1],
        mean,
        sd,
        sd / of_mean.sqrt(),
        bulk,
        tails,
        r,
        constant,
        nonfinite,
    )


def verdict(summary: ChainSummary) -> list[str]:
    """What speaks against trusting the draws, a sentence each with its numbers; empty if nothing
    does.

    R̂ above 1.01; bulk or tail ESS below 400; coordinates that never move; non-finite draws.
    Needed, not sufficient: see the top of this module. Vehtari et al. (2021), section 4.
    """
    s, found = summary, []
    if s.nonfinite.any():
        found.append(
            f"{int(s.nonfinite.sum())} of {s.num_chains} chains hold non-finite draws and"
            f" {share(s.mean.isnan())} could not be judged: leave these chains out or use a smaller"
            " step"
        )
    if s.constant.any():
        found.append(
            f"{share(s.constant)} never moved: nothing was accepted, or the coordinate is fixed"
        )
    if s.worst_rhat > RHAT_LIMIT:
        found.append(
            f"R̂ is {s.worst_rhat:.3g} at {worst_coordinate(s.rhat, torch.max)}, above {RHAT_LIMIT}"
            f" at {share(s.rhat > RHAT_LIMIT)}: the chains have not mixed; run longer"
        )
    for name, values, least, harm in (
        ("bulk", s.ess_bulk, s.worst_ess_bulk, "means"),
        ("tail", s.ess_tail, s.worst_ess_tail, "5 % and 95 % quantiles"),
    ):
        if least < ESS_LIMIT:
            found.append(
                f"{name} ESS is {least:.0f} at {worst_coordinate(values, torch.min)}, below"
                f" {ESS_LIMIT} at {share(values < ESS_LIMIT)}: {harm} and R̂ itself are uncertain;"
                " run longer or more chains"
            )
    return found


def check_draws(
    draws: Tensor, name: str, *, chains: int = 1, least: int = 4, finite: bool = True
) -> None:
    if not isinstance(draws, Tensor):
        hint = "use run_chains(..., keep_every=1)" if draws is None else "use torch.as_tensor"
        require(
            False,
            f"{name}: draws are {type(draws).__name__}, must be a tensor (num_draws, B, *event);"
            f" {hint}",
        )
    shape = tuple(draws.shape)
    require(
        draws.dim() >= 2 and draws.numel() > 0,
        f"{name}: draws have shape {shape}, must be (num_draws, B, *event) and not empty",
    )
    require(
        shape[0] >= least,
        f"{name}: {shape[0]} draws per chain in shape {shape}, must be at least {least}; draws come"
        " first, then chains",
    )
    require(
        shape[1] >= chains,
        f"{name}: {shape[1]} chain in shape {shape}, must be at least {chains}; start several from"
        " different points",
    )
    if finite:
        lost = int((~draws.isfinite()).sum())
        require(
            lost == 0,
            f"{name}: {lost:,} of {draws.numel():,} draws are not finite; leave out the chains that"
            " diverged",
        )


def check_prob(prob: float) -> None:
    require(0 < prob < 1, f"prob is {prob}, must lie between 0 and 1; 0.5 is the median")


def over_event(draws: Tensor, kernel: Kernel, moving: bool = True, degree: int = 0) -> Tensor:
    """kernel on (coordinates, B, n) float64, block by block: (*event, ...). NaN where only moving
    ones have a value.

    The kernel sees every coordinate in a unit of its own, a power of two near its largest |x|:
    squares of numbers like 1e±160 would be infinite or zero. `degree` is the power of that unit in
    its values: 1 for a standard error.
    """
    n, chains, *event = draws.shape
    parts = []
    for block in draws.detach().reshape(n, chains, -1).split(max(1, BLOCK // (n * chains)), dim=2):
        x = (
            (block.cpu() if block.device.type == "mps" else block)
            .double()
            .permute(2, 1, 0)
            .contiguous()
        )
        unit = power_of_two_near(x.abs().amax((1, 2)))
        values = kernel(x / unit[:, None, None])
        values = values * unit.view(-1, *[1] * (values.dim() - 1)) ** degree
        if moving:
            still = is_constant(x).view(-1, *[1] * (values.dim() - 1))
            values = torch.where(still, math.nan, values)
        parts.append(values)
    whole = torch.cat(parts)
    return whole.reshape([*event, *whole.shape[1:]])


def power_of_two_near(size: Tensor) -> Tensor:
    """2^k within a factor of four of each size, by which every division is exact;
    1 for 0 and what is not finite.
    """
    _, exponent = torch.frexp(size)
    unit = torch.ldexp(torch.ones_like(size), exponent.clamp(-1020, 1022))
    return torch.where((size > 0) & size.isfinite(), unit, 1.0)


# Kernels on x (d, B, n): coordinates, chains, draws.


def is_constant(x: Tensor) -> Tensor:
    return x.amax((1, 2)) == x.amin((1, 2))


def pooled_sd(x: Tensor) -> Tensor:
    return x.std((1, 2))


def half_chains(x: Tensor) -> Tensor:
    """(d, B, n) -> (d, 2B, n // 2)."""
    half = x.shape[2] // 2
    return torch.cat([x[:, :, :half], x[:, :, -half:]], 1)


def ordered_draws(x: Tensor) -> Tensor:
    return x.flatten(1).sort(1).values


def normal_scores(x: Tensor) -> Tensor:
    """Φ⁻¹((r - 3/8)/(S + 1/4)), r the rank among the S draws of a coordinate,
    ties share their mean rank.
    """
    ordered, order = x.flatten(1).sort(1)
    size = ordered.shape[1]
    place = torch.arange(size, device=x.device)
    differs = ordered[:, 1:] != ordered[:, :-1]
    end = differs.new_ones(len(ordered), 1)
    first = torch.where(torch.cat([end, differs], 1), place, 0).cummax(1).values
    last = torch.where(torch.cat([differs, end], 1), place, size).flip(1).cummin(1).values.flip(1)
    rank = (first + last).double() / 2 + 1
    scores = torch.special.ndtri((rank - 0.375) / (size + 0.25))
    return torch.empty_like(scores).scatter_(1, order, scores).view_as(x)


def folded(x: Tensor) -> Tensor:
    """|x - median|, the median half-way between the two middle draws."""
    ordered, size = ordered_draws(x), x[0].numel()
    median = (ordered[:, (size - 1) // 2] + ordered[:, size // 2]) / 2
    return (x - median[:, None, None]).abs()


def rank_rhat(half: Tensor, scores: Tensor) -> Tensor:
    """Of two values in equal numbers the folded ones are constant and say nothing:
    the larger that is a number.
    """
    return torch.fmax(split_rhat(scores), split_rhat(normal_scores(folded(half))))


def split_rhat(z: Tensor) -> Tensor:
    n = z.shape[2]
    between, within = n * z.mean(2).var(1), z.var(2).mean(1)
    return torch.where(is_constant(z), math.nan, ((between / within + n - 1) / n).sqrt())


def tail(x: Tensor) -> Tensor:
    ordered = ordered_draws(x)
    return torch.minimum(quantile_ess(x, ordered, 0.05), quantile_ess(x, ordered, 0.95))


def quantile_ess(x: Tensor, ordered: Tensor, prob: float) -> Tensor:
    size = ordered.shape[1]
    low = math.floor(prob * (size - 1))
    part = prob * (size - 1) - low
    a, b = ordered[:, low], ordered[:, min(low + 1, size - 1)]
    quantile = a + (b - a) * part if part < 0.5 else b - (b - a) * (1 - part)  # exact at both ends
    return effective(half_chains((x <= quantile[:, None, None]).double()))


def effective(x: Tensor) -> Tensor:
    """ESS = S/τ of half-chains (d, B, n), with τ ≥ 1/log₁₀S; S for an indicator that never changes.

    ρ(t) = 1 - (W - c(t))/V,   c(t) the mean over chains of the autocovariance with divisor n,
    W = c(0)·n/(n - 1),   V = c(0) + the variance of the chains' means.
    """
    _, chains, n = x.shape
    size = chains * n
    means = x.mean(2, keepdim=True)
    covariance = from_spectrum(power(x - means, n - 1).mean(1), n, n - 1)  # (d, n)
    within = covariance[:, :1] * n / (n - 1)
    total = covariance[:, :1] + means[:, :, 0].var(1)[:, None]
    rho = 1 - (within - covariance) / total
    rho[:, 0] = 1
    tau = geyer(rho).clamp(min=1 / math.log10(size))
    return torch.where(is_constant(x), float(size), size / tau)


def geyer(rho: Tensor) -> Tensor:
    """τ = -1 + 2 Σ_{k<K} P_k + ρ(2K)⁺ of ρ (d, n), P_k = ρ(2k) + ρ(2k+1) made to decrease.

    K is the first k with P_k ≤ 0, at most (n - 3) // 2: the last pairs hang on too few products.
    ρ(2K)⁺ is the even term of the pair where the sum stops, if it is positive or its whole pair is
    not negative. Geyer (1992), section 3.3.
    """
    n = rho.shape[1]
    last = max(0, (n - 3) // 2)
    pairs = rho[:, 0 : 2 * last + 2 : 2] + rho[:, 1 : 2 * last + 2 : 2]  # (d, last + 1)
    kept = (pairs[:, :last] > 0).long().cumprod(1)
    stop = kept.sum(1, keepdim=True)  # K
    decreasing = pairs.cummin(1).values[:, :last]
    even = rho.gather(1, 2 * stop)[:, 0]
    even = torch.where((even > 0) | (pairs.gather(1, stop)[:, 0] >= 0), even, 0.0)
    return -1 + 2 * (decreasing * kept).sum(1) + even


def power(centred: Tensor, lags: int) -> Tensor:
    """|Fourier transform|² of the last dimension, padded so that no lag up to `lags` wraps
    round.
    """
    n = centred.shape[-1]
    spectrum = torch.fft.rfft(centred, n=next_fast_len(n + lags, real=True))
    return spectrum.real**2 + spectrum.imag**2


def from_spectrum(spectrum: Tensor, n: int, lags: int) -> Tensor:
    """c(t) = 1/n Σ_{i<n-t} x_i x_{i+t} for t = 0 … lags."""
    return torch.fft.irfft(spectrum, n=next_fast_len(n + lags, real=True))[..., : lags + 1] / n


# Words.


def worst(values: Tensor, extreme: Callable[[Tensor], Tensor]) -> float:
    known = values[~values.isnan()]
    return float(extreme(known)) if known.numel() else math.nan


def worst_coordinate(values: Tensor, extreme: Callable[[Tensor], Tensor]) -> str:
    index = (values == worst(values, extreme)).nonzero()[0].tolist()
    return f"x[{', '.join(map(str, index))}]" if index else "x"


def share(mask: Tensor) -> str:
    total = mask.numel()
    return f"{int(mask.sum()):,} of {total:,} coordinate{'' if total == 1 else 's'}"
