"""Breakages of the diagnostics."""

from __future__ import annotations

from tests.mutations.mutation import Mutation, breakages

MUTATIONS: tuple[Mutation, ...] = (
    # Diagnostics.
    *breakages(
        "diagnostics/chains.py",
        "diagnostics/test_chains.py",
        ("ranks not centred", "(rank - 0.375) / (size + 0.25)", "rank / (size + 1)"),
        ("the first half twice", "x[:, :, -half:]", "x[:, :, :half]"),
        (
            "not folded",
            "torch.fmax(split_rhat(scores), split_rhat(normal_scores(folded(half))))",
            "split_rhat(scores)",
        ),
        ("between without n", "n * z.mean(2).var(1)", "z.mean(2).var(1)"),
        (
            "chains that disagree count as one",
            "covariance[:, :1] + means[:, :, 0].var(1)[:, None]",
            "covariance[:, :1]",
        ),
        ("pairs may rise", "pairs.cummin(1).values[:, :last]", "pairs[:, :last]"),
        ("τ off by two", "return -1 + 2 *", "return 1 + 2 *"),
        (
            "error over ESS, not √ESS",
            "pooled_sd(x) / effective(half_chains(x)).sqrt()",
            "pooled_sd(x) / effective(half_chains(x))",
        ),
        (
            "error of the sd without its half",
            "/ variance\n        ).sqrt() / 2",
            "/ variance\n        ).sqrt()",
        ),
        ("super-chains agree within", "(among + within).mean(1)", "within.mean(1)"),
        (
            "divisor n - t",
            "[..., : lags + 1] / n",
            "[..., : lags + 1] / (n - torch.arange(lags + 1))",
        ),
    ),
    *breakages(
        "diagnostics/coupling.py",
        "diagnostics/test_coupling.py",
        ("no reflection", "noise - 2 * delta * along", "noise - 0 * delta * along"),
        ("half a reflection", "noise - 2 * delta", "noise - delta"),
        (
            "y with the spread of x",
            "y = q.mean + q.variance.sqrt() * reflected",
            "y = q.mean + p.variance.sqrt() * reflected",
        ),
        (
            "met by the ratio flipped",
            "ratio = log_normal(x, q) - log_normal(x, p)",
            "ratio = log_normal(x, p) - log_normal(x, q)",
        ),
        (
            "the rest of q not drawn",
            "return x, y.index_copy(0, rest, rest_of(at(p, rest), at(q, rest), generator))",
            "return x, y",
        ),
        ("the rest of q without its ceiling", "share = math.log(CEILING) + ", "share = "),
        ("coins apart", "        generator.set_state(coins)  # the same u\n", ""),
        (
            "way back by the law of the way there",
            "log_normal(both.x, back)",
            "log_normal(both.x, law)",
        ),
        ("signs apart", "torch.cat([signs, signs])", "torch.cat([signs, signs**0])"),
        (
            "apart again after meeting",
            "choose(same(x, y) | same(x_next, y_next), x_next, y_next)",
            "y_next",
        ),
        ("x does not lead", "for _ in range(lag)", "for _ in range(lag - 1)"),
        ("met too early by the lag", "times[apart[met]] = lag + k", "times[apart[met]] = k"),
    ),
    *breakages(
        "diagnostics/meeting.py",
        "diagnostics/test_coupling.py",
        ("bound rounded down", "/ self.lag).ceil()", "/ self.lag).floor()"),
        ("distances summed forward", ".flip(0).cumsum(0).flip(0)", ".cumsum(0)"),
        (
            "censored pairs left out of the slope",
            "clamp(max=self.lag + self.max_steps) - u",
            "clamp(max=float(u)) - u",
        ),
    ),
    *breakages(
        "diagnostics/rays.py",
        "diagnostics/test_ergodicity.py",
        (
            "rays not of length 1",
            "return ray / length.view(-1, *[1] * len(event_shape))",
            "return ray",
        ),
    ),
    *breakages(
        "diagnostics/growth.py",
        "diagnostics/test_ergodicity.py",
        (
            "cosine over |∇U|²",
            "dim=1, dtype=widest_float(grad.device))\n        )",
            "dim=1, dtype=widest_float(grad.device)) ** 2\n        )",
        ),
        ("growth the wrong way up", "(last / first).log()", "(first / last).log()"),
    ),
    *breakages(
        "diagnostics/drift.py",
        "diagnostics/test_ergodicity.py",
        (
            "drift ratio upside down",
            "log_v_at(log_v, state.x) - log_v_at(log_v, copies)",
            "log_v_at(log_v, copies) - log_v_at(log_v, state.x)",
        ),
        ("mean of logarithms", "return top + mean.log(), ", "return change.mean(), "),
        ("error of one copy", "weight.std() / mean / len(weight) ** 0.5", "weight.std() / mean"),
        ("below 1 without its error", "(1 + ERRORS * error) < 1", "(1 + 0 * error) < 1"),
    ),
    *breakages(
        "diagnostics/bias.py",
        "diagnostics/test_ergodicity.py",
        (
            "error of one chain",
            "a, b = value.var(0) / n, reference.var(0) / n",
            "a, b = value.var(0), reference.var(0)",
        ),
        ("error of one sampler only", "error = (a + b).sqrt()", "error = a.sqrt()"),
        ("no Bonferroni", "SIGNIFICANCE / 2 / number", "SIGNIFICANCE / 2"),
        ("burn-in kept", "if n >= burn_in:", "if n >= 0:"),
    ),
)
