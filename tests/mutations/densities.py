"""Breakages of what draws from a user's own density: its parameters, its sampler, the judgement."""

from __future__ import annotations

from tests.mutations.mutation import Mutation, breakages

MUTATIONS: tuple[Mutation, ...] = (
    *breakages(
        "targets/parameters.py",
        "targets/test_parameters.py",
        ("no Jacobian", "return -(log_p + log_jacobian)", "return -log_p"),
        ("the Jacobian subtracted", "-(log_p + log_jacobian)", "-(log_p - log_jacobian)"),
        (
            "the Jacobian of the last parameter alone",
            "total = total + log_jacobian",
            "total = log_jacobian",
        ),
        (
            "a Cholesky factor without its Jacobian",
            "positive.log_abs_det_jacobian(inner, diagonal).sum(1)",
            "0 * diagonal.sum(1)",
        ),
        (
            "below the diagonal in the order of columns",
            "(torch.arange(len(z), device=z.device)[:, None], below[0], below[1]), z[:, n:]",
            "(torch.arange(len(z), device=z.device)[:, None], below[0], below[1]), "
            "z[:, n:].flip(1)",
        ),
        (
            "a violated constraint taken",
            "bad = ~part.holds(x)",
            "bad = part.holds(x) & False",
        ),
        ("an edge taken", "edge = ~z.isfinite().all(1)", "edge = z.isnan().all(1)"),
        (
            "entries that cannot vary in the table",
            "free = free.tril()\n            free[..., 0, 0] = False",
            "free = free.tril()",
        ),
    ),
    *breakages(
        "samplers/chees.py",
        "samplers/test_chees.py",
        (
            "the kinetic energy upside down",
            "per_chain(momentum**2 - last**2) / 2",
            "per_chain(last**2 - momentum**2) / 2",
        ),
        (
            "no half of the kinetic energy",
            "per_chain(momentum**2 - last**2) / 2",
            "per_chain(momentum**2 - last**2)",
        ),
        (
            "trajectories rounded down",
            "max(1, math.ceil(time / float(self.step_size)))",
            "max(1, math.floor(time / float(self.step_size)))",
        ),
        (
            "no largest number of steps",
            "float(self.step_size))), most)",
            "float(self.step_size))), 10**9)",
        ),
        (
            "the mean length without its sum",
            "most * (most - 1) / (2 * ratio)",
            "most / (2 * ratio)",
        ),
        ("the criterion descended", "self.log_length += self.rate", "self.log_length -= self.rate"),
        (
            "weights that do not grow",
            "weight = 2 / (self.n + 1)",
            "weight = 0.0",
        ),
        (
            "the end not centred",
            "y = y - (rows * y).sum(0) / total",
            "y = y + 0 * (rows * y).sum(0) / total",
        ),
        ("the start not centred", "x = x - x.mean(0)", "x = x + 0 * x.mean(0)"),
        ("chains that are lost count", "(weight * change", "(weight**0 * change"),
        (
            "the change of the end alone",
            "per_chain(y**2) - per_chain(x**2)",
            "per_chain(y**2) - 0 * per_chain(x**2)",
        ),
        ("the sequence backwards", "place * (n & 1)", "place * (1 - (n & 1))"),
    ),
    *breakages(
        "samplers/preconditioned.py",
        "samplers/test_preconditioned.py",
        ("L transposed in z", "(x.flatten(1) @ matrix.T)", "(x.flatten(1) @ matrix)"),
        (
            "the gradient by L, not by its transpose",
            "grad=self.solved(inner.grad, transposed=True)",
            "grad=self.solved(inner.grad, transposed=False)",
        ),
        (
            "what stayed is recomputed behind a matrix",
            "torch.where(rows, times(self.scale.to(state.x), after.x), state.x)",
            "times(self.scale.to(state.x), after.x)",
        ),
        ("a full matrix taken", "and not bool(factor.triu(1).any())", ""),
    ),
    *breakages(
        "samplers/adapt.py",
        "samplers/test_adapt.py",
        ("a covariance about 0", "self.count - mean[:, None] * mean", "self.count"),
        (
            "the same half twice",
            "x[half::2].flatten(1), chains[half::2]",
            "x[::2].flatten(1), chains[::2]",
        ),
        ("a dense scale always pays", "PAYS * dense > roundness(", "0 * dense > roundness("),
        ("a dense scale never pays", "PAYS * dense > roundness(", "math.inf > roundness("),
        (
            "the factor of half of the chains",
            "return whole.to(self.type)",
            "return factor.to(self.type)",
        ),
        (
            "white on one side only",
            "torch.linalg.solve_triangular(factor, half.T, upper=False)",
            "half",
        ),
        ("a dense scale of any size", "2 <= x[0].numel() <= MOST_DENSE", "2 <= x[0].numel()"),
    ),
    *breakages(
        "judging/draw.py",
        "judging/test_draw.py",
        ("R̂ is not asked", "bad = s.rhat > self.rhat", "bad = s.rhat > 1e9"),
        ("ESS is not asked", "bad = ess < self.ess", "bad = ess < 0"),
        ("the error is not asked", "bad = ratio > 1", "bad = ratio > 1e9"),
        (
            "an error for another parameter",
            'of = [name.split("[")[0] for name in names]',
            "of = list(names)[::-1]",
        ),
        ("a biased sampler taken", "is_adjusted(sampler),", "True,"),
        (
            "starts as they come",
            "bad = ~u.isfinite()\n        if not bad.any():",
            "bad = u != u\n        if not bad.any():",
        ),
        (
            "starts are not checked",
            "bad = ~u.isfinite()\n    if bad.any():",
            "bad = u > 1e99\n    if bad.any():",
        ),
        ("no warning", "if out.reasons:", "if not out:"),
        ("the budget is not kept", "self.spent >= self.budget", "self.spent >= 50 * self.budget"),
    ),
    *breakages(
        "judging/draw.py",
        "samplers/test_arguments.py",
        (
            "one seed for all",
            'as_generator(generator, seed if generator is None else None, "draw"',
            'as_generator(None, seed, "draw"',
        ),
        (
            "keep_every is not heard",
            "every, steps = self.keep_every, FIRST * self.keep_every\n",
            "every, steps = 1, FIRST\n",
        ),
    ),
    *breakages(
        "streams.py",
        "samplers/test_arguments.py",
        (
            "all functions share a stream",
            "stream(whole(seed), *name",
            'stream(whole(seed), "draws"',
        ),
        ("a fraction is a seed", "return operator.index(seed)", "return int(float(seed))"),
        ("a generator before a seed", "            seed is None,\n", "            True,\n"),
    ),
    *breakages(
        "samplers/arguments.py",
        "samplers/test_arguments.py",
        (
            "float32 of every array",
            "array if array.dtype == np.float32 else array.astype(np.float64)",
            "array.astype(np.float32)",
        ),
        (
            "the type of the weights not looked at",
            "if like is not None:",
            "if like is None and False:",
        ),
        ("a class for a sampler", "if isinstance(sampler, type):", "if sampler is None:"),
        ("another first step", "sampler_named(sampler, FIRST_STEP)", "sampler_named(sampler, 1.0)"),
    ),
    *breakages(
        "notebooks.py",
        "test_notebooks.py",
        ("a key as it is", "<th>{html.escape(str(key))}</th>", "<th>{key}</th>"),
        ("a value as it is", "<td>{html.escape(str(value))}</td>", "<td>{value}</td>"),
    ),
    *breakages(
        "diagnostics/table.py",
        "test_notebooks.py",
        ("a name as it is", "<th>{html.escape(row['name'])}</th>", "<th>{row['name']}</th>"),
    ),
)
