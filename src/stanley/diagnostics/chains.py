"""Convergence diagnostics of draws: rank-normalised R̂, effective sample sizes, Monte Carlo errors.

All functions take the `draws` (num_draws, B, *event) of B chains, as
`run_chains(..., keep_every=1)` returns them. They return one float64 number per coordinate,
(*event), on the device of the draws (for MPS, which has no float64, on the CPU). Each costs sorts
or Fourier transforms of all n = num_draws·B draws, O(n log n) per coordinate, in blocks of
coordinates of bounded memory. For a coordinate that never moves R̂, ESS and errors are NaN. Draws
that are not finite, or too few, raise StanleyError.

Each chain is split into halves, so that a chain that drifts disagrees with itself; if the number of
draws is odd, the middle one is left out. Not true: that a good value proves convergence: a mode
that no chain has visited leaves no trace in the draws, and R̂ is close to 1 for chains that all
started in the same mode and are stuck there.

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
ESS_LIMIT = 400  # from the same section
BLOCK = 1 << 23  # draws in one block: 64 MB, and a few times that with the transforms

Kernel = Callable[[Tensor], Tensor]  # (d, B, n) -> (d,) float64: coordinates, chains, draws


def rhat(draws: Tensor) -> Tensor:
    """Rank-normalised split R̂, which is close to 1 when chains agree: (*event).

        R̂ = √((B/W + n - 1)/n),   z = Φ⁻¹((r - 3/8)/(S + 1/4))

    B/n is the variance of the half-chains' means and W the mean of their variances, n the draws of
    a half-chain. Both are of the normal scores z of the ranks r among all S draws, so R̂ exists for
    laws without a variance and is the same for any increasing function of x. The result is the
    larger of this R̂ and that of the folded draws |x - median|, which detects chains that differ in
    spread but is not invariant in this way. Needs two chains and four draws.
    Vehtari et al. (2021), eq. (4), (14) and section 4.1.
    """
    check_draws(draws, "rhat", chains=2)
    return over_event(draws, lambda x: rank_rhat(half := half_chains(x), normal_scores(half)))


def ess_bulk(draws: Tensor) -> Tensor:
    """Bulk effective sample size, that of the rank-normalised draws: (*event).

    It tells how well the centre of the law is known. Vehtari et al. (2021), section 4.3.
    """
    check_draws(draws, "ess_bulk")
    return over_event(draws, lambda x: effective(normal_scores(half_chains(x))))


def ess_tail(draws: Tensor) -> Tensor:
    """Tail effective sample size, the smaller of those of the 5 % and the 95 % quantile: (*event).

    Vehtari et al. (2021), section 4.3.
    """
    check_draws(draws, "ess_tail")
    return over_event(draws, tail)


def ess_quantile(draws: Tensor, prob: float) -> Tensor:
    """Effective sample size of a quantile: (*event).

    It is that of the indicator of x ≤ q, where q is the empirical quantile at `prob`.
    """
    check_draws(draws, "ess_quantile")
    check_prob(prob)
    return over_event(draws, lambda x: quantile_ess(x, ordered_draws(x), prob))


def ess_mean(draws: Tensor) -> Tensor:
    """Effective sample size S/τ of the mean: (*event).

    S is the number of draws and τ = Σ_t ρ(t) over all t from -∞ to ∞: that many independent draws
    would give the mean with the same accuracy. The sum ends where ρ(2k) + ρ(2k+1) first falls below
    zero, and these pairs are made to decrease (Geyer 1992). ρ includes the variance between
    half-chains, so that chains that disagree count as correlated. Not true: that more chains make
    up for short ones: where a half-chain is only a few τ long, ρ is biased for any number of them.
    """
    check_draws(draws, "ess_mean")
    return over_event(draws, lambda x: effective(half_chains(x)))


def mcse_mean(draws: Tensor) -> Tensor:
    """Monte Carlo standard error of the mean over all draws, sd/√ess_mean: (*event).

    It is meaningless for a law without a variance.
    """
    check_draws(draws, "mcse_mean")
    return over_event(draws, lambda x: pooled_sd(x) / effective(half_chains(x)).sqrt(), degree=1)


def mcse_sd(draws: Tensor) -> Tensor:
    """Monte Carlo standard error of the standard deviation, by the delta method: (*event).

        √(Var((x - m)²)/ESS) / 2sd

    The ESS is that of (x - m)² itself; that of x would be too large for anticorrelated Gaussian
    chains.
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
    """Monte Carlo standard error of the quantile at `prob` = p: (*event).

    With ESS effective draws, the share below the true quantile is Beta(ESS·p + 1, ESS·(1 - p) + 1).
    The result is half the distance between the ordered draws at the 16 % and 84 % points of that
    law. Vehtari et al. (2021), section 4.4.
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
    """Nested R̂, √(1 + B/W), for many short chains in `num_super` super-chains: (*event).

    Chains 0 … M-1 are the first super-chain, the next M the second, and so on. The M chains of a
    super-chain should start at the same point: what they disagree by is then noise, and what
    super-chains disagree by is memory of the start. B is the variance of the super-chains' means.
    W is the mean over super-chains of the variance of their chains' means (0 if M = 1) plus the
    mean variance within their chains (0 for a single draw). Draws are neither split into halves nor
    ranked, and a single one per chain is enough.
    Margossian, Hoffman, Sountsov, Riou-Durand, Vehtari & Gelman (2024), Nested R̂, eq. (6)-(8).
    """
    check_draws(draws, "nested_rhat", chains=2, least=1)
    n, chains = draws.shape[:2]
    require(
        2 <= num_super <= chains and chains % num_super == 0,
        f"nested_rhat: num_super is {num_super}, but must be at least 2 and divide the {chains}"
        " chains",
    )
    require(
        n > 1 or num_super < chains,
        f"nested_rhat: one draw of {chains} chains in {num_super} super-chains gives no variance"
        " within a super-chain; keep more draws, or put at least two chains into each",
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
    """The autocorrelation ρ(t), averaged over chains: (max_lag + 1, *event); 1 at lag 0.

    See `autocorrelation_by_chain`.
    """
    return autocorrelation_by_chain(draws, max_lag).mean(1)


def autocorrelation_by_chain(draws: Tensor, max_lag: int | None = None) -> Tensor:
    """The autocorrelation of each chain b at lags t: (max_lag + 1, B, *event).

        ρ_b(t) = c_b(t) / c̄(0),   c̄(0) = mean_b c_b(0),
        c_b(t) = 1/n Σ_{i<n-t} (x_{i,b} - m)(x_{i+t,b} - m),

    where m is the mean over i and b. Since m and c̄(0) are pooled over chains, ρ does not fall to 0
    for chains that stay apart; with a mean of its own, a chain that is stuck in one mode would look
    mixed. The mean over chains is exactly 1 at lag 0; the value of one chain there is its share of
    the variance about m. The divisor is n, not n - t: it shrinks ρ by (1 - t/n), and keeps it
    positive definite. A constant coordinate gives NaN. The default of `max_lag` is
    min(n - 1, 200, n // 2), but at least 1.
    """
    check_draws(draws, "autocorrelation", least=2)
    n = len(draws)
    lags = max(1, min(n - 1, 200, n // 2)) if max_lag is None else max_lag
    require(1 <= lags < n, f"max_lag is {lags}, but must be between 1 and {n - 1} for {n} draws")

    def kernel(x: Tensor) -> Tensor:
        centred = x - x.mean((1, 2), keepdim=True)
        covariance = from_spectrum(power(centred, lags), n, lags)
        return covariance / (centred**2).mean((1, 2))[:, None, None]

    rho = over_event(draws, kernel)  # (*event, B, lags + 1)
    return rho.movedim((-1, -2), (0, 1))


@dataclass(frozen=True)
class ChainSummary:
    """Mean, standard deviation and convergence diagnostics of every coordinate.

    The properties `worst_…` are over the coordinates whose number is not NaN; NaN if there is none.
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
    # (B,)     bool: the chain holds a non-finite draw; all else of such coordinates is NaN
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
    """Mean, sd, MCSE, bulk and tail ESS and R̂ of every coordinate of draws (num_draws, B, *event).

    All are NaN for a coordinate with a non-finite draw; `nonfinite` marks the chains with such
    draws. Needs two chains and four draws.
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
    # masked coordinates are constant, which gives NaN
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
    """The reasons not to trust the draws, one sentence each; empty if there is none.

    Reasons are R̂ above 1.01, a bulk or tail ESS below 400, coordinates that never move, and
    non-finite draws. Not true: that an empty list proves convergence; see the top of this module.
    Vehtari et al. (2021), section 4.
    """
    s, reasons = summary, []
    if s.nonfinite.any():
        reasons.append(
            f"{int(s.nonfinite.sum())} of {s.num_chains} chains hold non-finite draws, so"
            f" {share(s.mean.isnan())} could not be judged; leave out these chains, or use a"
            " smaller step size"
        )
    if s.constant.any():
        reasons.append(
            f"{share(s.constant)} never moved: either no proposal was accepted (use a smaller step"
            " size), or the coordinate is fixed"
        )
    if s.worst_rhat > RHAT_LIMIT:
        reasons.append(
            f"R̂ is {s.worst_rhat:.3g} at {worst_coordinate(s.rhat, torch.max)} and above"
            f" {RHAT_LIMIT} at {share(s.rhat > RHAT_LIMIT)}, so the chains have not mixed; run"
            " longer"
        )
    for name, values, least, harm in (
        ("bulk", s.ess_bulk, s.worst_ess_bulk, "means"),
        ("tail", s.ess_tail, s.worst_ess_tail, "5 % and 95 % quantiles"),
    ):
        if least < ESS_LIMIT:
            reasons.append(
                f"{name} ESS is {least:.0f} at {worst_coordinate(values, torch.min)} and below"
                f" {ESS_LIMIT} at {share(values < ESS_LIMIT)}, so {harm} and R̂ itself are"
                " uncertain; run longer, or more chains"
            )
    return reasons


def check_draws(
    draws: Tensor, name: str, *, chains: int = 1, least: int = 4, finite: bool = True
) -> None:
    if not isinstance(draws, Tensor):
        hint = "use run_chains(..., keep_every=1)" if draws is None else "use torch.as_tensor"
        require(
            False,
            f"{name}: draws are {type(draws).__name__}, but must be a tensor"
            f" (num_draws, B, *event); {hint}",
        )
    shape = tuple(draws.shape)
    require(
        draws.dim() >= 2 and draws.numel() > 0,
        f"{name}: draws have shape {shape}, but must be (num_draws, B, *event) and not empty",
    )
    require(
        shape[0] >= least,
        f"{name}: draws of shape {shape} hold {shape[0]} draws per chain, but must hold at least"
        f" {least}; the first dimension counts draws, the second chains",
    )
    require(
        shape[1] >= chains,
        f"{name}: draws of shape {shape} hold {shape[1]} chain, but must hold at least {chains};"
        " start several chains from different points",
    )
    if finite:
        lost = int((~draws.isfinite()).sum())
        require(
            lost == 0,
            f"{name}: {lost:,} of {draws.numel():,} numbers in the draws are not finite; leave out"
            " the chains that diverged",
        )


def check_prob(prob: float) -> None:
    require(0 < prob < 1, f"prob is {prob}, but must lie between 0 and 1; 0.5 is the median")


def over_event(draws: Tensor, kernel: Kernel, moving: bool = True, degree: int = 0) -> Tensor:
    """Apply `kernel` to blocks (d, B, n) of coordinates in float64, and join its values.

    The result is (*event, ...). Each coordinate is first divided by a unit of its own, a power of
    two near its largest |x|, since squares of numbers like 1e±160 would be infinite or zero. The
    kernel's values are multiplied by
    that unit to the power `degree`, which is 1 for a standard error and 0 for an ESS. If `moving`,
    coordinates that never move give NaN.
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
    """A power of two within a factor of four of each size; 1 for a size that is 0 or not finite.

    Division by it is exact.
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
    """Each chain split into its two halves: (d, B, n) -> (d, 2B, n // 2)."""
    half = x.shape[2] // 2
    return torch.cat([x[:, :, :half], x[:, :, -half:]], 1)


def ordered_draws(x: Tensor) -> Tensor:
    return x.flatten(1).sort(1).values


def normal_scores(x: Tensor) -> Tensor:
    """Φ⁻¹((r - 3/8)/(S + 1/4)), with r the rank among the S draws of a coordinate.

    Equal draws share their mean rank.
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
    """|x - median|; of an even number of draws the median is the mean of the middle two."""
    ordered, size = ordered_draws(x), x[0].numel()
    median = (ordered[:, (size - 1) // 2] + ordered[:, size // 2]) / 2
    return (x - median[:, None, None]).abs()


def rank_rhat(half: Tensor, scores: Tensor) -> Tensor:
    """The larger of R̂ and folded R̂.

    If half of the draws have one value and half another, the folded draws are constant and their R̂
    is NaN; it is then ignored.
    """
    return torch.fmax(split_rhat(scores), split_rhat(normal_scores(folded(half))))


def split_rhat(z: Tensor) -> Tensor:
    """√((B/W + n - 1)/n) of half-chains (d, B, n)."""
    n = z.shape[2]
    between, within = n * z.mean(2).var(1), z.var(2).mean(1)
    return torch.where(is_constant(z), math.nan, ((between / within + n - 1) / n).sqrt())


def tail(x: Tensor) -> Tensor:
    """The smaller ESS of the 5 % and the 95 % quantile."""
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

        ρ(t) = 1 - (W - c(t))/V,   W = c(0)·n/(n - 1),   V = c(0) + Var(means of the chains)

    c(t) is the mean over chains of the autocovariance, with divisor n.
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
    """τ of ρ (d, n) by Geyer's initial monotone sequence.

        τ = -1 + 2 Σ_{k<K} P_k + ρ(2K)⁺,   P_k = ρ(2k) + ρ(2k+1), made to decrease

    K is the first k with P_k ≤ 0, at most (n - 3) // 2, since the last pairs are means of too few
    products. ρ(2K)⁺ is ρ(2K) if it is positive or its pair is not negative, otherwise 0.
    Geyer (1992), section 3.3.
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
    """|Fourier transform|² along the last dimension, padded so that no lag up to `lags` wraps."""
    n = centred.shape[-1]
    spectrum = torch.fft.rfft(centred, n=next_fast_len(n + lags, real=True))
    return spectrum.real**2 + spectrum.imag**2


def from_spectrum(spectrum: Tensor, n: int, lags: int) -> Tensor:
    """c(t) = 1/n Σ_{i<n-t} x_i x_{i+t} for t = 0 … lags."""
    return torch.fft.irfft(spectrum, n=next_fast_len(n + lags, real=True))[..., : lags + 1] / n


# For the sentences of `verdict`.


def worst(values: Tensor, extreme: Callable[[Tensor], Tensor]) -> float:
    known = values[~values.isnan()]
    return float(extreme(known)) if known.numel() else math.nan


def worst_coordinate(values: Tensor, extreme: Callable[[Tensor], Tensor]) -> str:
    index = (values == worst(values, extreme)).nonzero()[0].tolist()
    return f"x[{', '.join(map(str, index))}]" if index else "x"


def share(mask: Tensor) -> str:
    total = mask.numel()
    return f"{int(mask.sum()):,} of {total:,} coordinate{'' if total == 1 else 's'}"
