"""Breakages of the samplers, their noise, their adaptation and the chain loop."""

from __future__ import annotations

from tests.mutations.mutation import Mutation, breakages

MUTATIONS: tuple[Mutation, ...] = (
    # What all samplers share.
    *breakages(
        "samplers/base.py",
        "samplers/test_langevin.py",
        (
            "twice the gradient",
            "return u.detach(), grad",
            "return u.detach(), 2 * grad",
        ),
    ),
    *breakages(
        "samplers/noise.py",
        "samplers/test_langevin.py",
        (
            "uniform noise of the right variance",
            "return torch.randn(\n                self.shape, generator=generator, "
            "dtype=self.dtype, device=self.device\n            )",
            "return 12**0.5 * (torch.rand(self.shape, generator=generator, dtype=self.dtype) - "
            "0.5)",
        ),
    ),
    *breakages(
        "samplers/noise.py",
        "samplers/test_execution.py",
        ("the tape begins anew", "return next(self.numbers)", "return next(iter([*self.numbers]))"),
    ),
    *breakages(
        "samplers/blocks.py",
        "samplers/test_blocks.py",
        (
            "sums of the last step",
            "sums = sums.after(before, info)",
            "sums = carried[1].after(before, info)",
        ),
        ("one position", "positions.append(state.x)", "positions = [state.x] * BLOCK"),
        ("images too", "or x0.dim() != 2", ""),
    ),
    *breakages(
        "samplers/run.py",
        "samplers/test_blocks.py",
        ("a block too far", "0 < n <= last - BLOCK", "0 < n <= num_steps - BLOCK"),
    ),
    *breakages(
        "samplers/execution.py",
        "samplers/test_execution.py",
        ("the generator is not put back", "generator.set_state(before)", "pass"),
        (
            "weights from the cache",
            "parametrize._cache_enabled, 0",
            "parametrize._cache_enabled, 1",
        ),
        (
            "the step size of the first trace",
            "own.extend(numbers_of(sampler, tensors[0]))",
            "own.extend([*numbers_of(sampler, tensors[0])[:-1], torch.tensor(0.1).double()])",
        ),
        (
            "any temperature",
            "return potential, training",
            "return networks_in(potential), training",
        ),
    ),
    *breakages(
        "samplers/trajectories.py",
        "samplers/test_trajectories.py",
        ("blocks that are left out", "left //", "min(1, left) //"),
        ("the scale of the first trace", "inside, scale = inside.energy, inside.scale", "pass"),
        ("half of a trajectory", "left %= size", "left = 0"),
        ("points not counted", "layer.points += num * len(state.x)", "pass"),
        ("the length of each trajectory fixed", "is not None\n\n\ndef in", "is None\n\n\ndef in"),
    ),
    *breakages(
        "samplers/preconditioned.py",
        "samplers/test_trajectories.py",
        ("the gradient of x, not of z", "return u, grad * self.scale", "return u, grad"),
        ("L for Lᵀ", "times(self.factor.T, grad)", "times(self.factor, grad)"),
    ),
    *breakages(
        "samplers/base.py",
        "samplers/test_chunked.py",
        (
            "gradients of the first chunk for all",
            "torch.cat(grad)",
            "torch.cat([grad[0]] * len(grad))[: len(x)]",
        ),
        ("products of the chunks in reverse", "torch.cat(products)", "torch.cat(products[::-1])"),
    ),
    *breakages(
        "samplers/base.py",
        "uses/test_potentials.py",
        (
            "rows of other chains",
            "yield for_rows(potential, rows), rows",
            "yield for_rows(potential, slice(size)), rows",
        ),
    ),
    *breakages(
        "samplers/base.py",
        "samplers/test_base.py samplers/test_mala.py",
        (
            "energies the wrong way round",
            "state.potential.to(log_ratio) - candidate.potential.to(log_ratio)",
            "candidate.potential.to(log_ratio) - state.potential.to(log_ratio)",
        ),
        (
            "proposal ratio subtracted",
            "candidate.potential.to(log_ratio) + log_ratio",
            "candidate.potential.to(log_ratio) - log_ratio",
        ),
        (
            "proposal ratio left out",
            "candidate.potential.to(log_ratio) + log_ratio",
            "candidate.potential.to(log_ratio)",
        ),
        ("NaN accepted", "valid & (coin.log() < log_alpha)", "~(coin.log() >= log_alpha)"),
        (
            "an infinite ratio is taken",
            "valid = log_alpha.isfinite()",
            "valid = ~log_alpha.isnan()",
        ),
        ("coin squared", "(coin.log() < log_alpha)", "(2 * coin.log() < log_alpha)"),
        (
            "one coin for all chains",
            "uniform_like(log_alpha, generator)",
            "uniform_like(log_alpha[:1], generator)",
        ),
        (
            "the coin reported for its probability",
            "acceptance = torch.where(valid, log_alpha.clamp(max=0).exp(), 0.0)",
            "acceptance = accept.to(log_alpha)",
        ),
        (
            "a refused chain keeps the new gradient",
            "grad=torch.where(rows, candidate.grad, state.grad)",
            "grad=candidate.grad",
        ),
        (
            "a refused chain keeps the new potential",
            "potential=torch.where(accept, candidate.potential, state.potential)",
            "potential=candidate.potential",
        ),
        (
            "log-ratio a mean over the event",
            ".sum(1, dtype=widest_float(values.device))",
            ".mean(1, dtype=widest_float(values.device))",
        ),
        (
            "log-ratio summed in the type of x",
            ".sum(1, dtype=widest_float(values.device))",
            ".sum(1).to(widest_float(values.device))",
        ),
    ),
    *breakages(
        "samplers/base.py",
        "samplers/test_stanley.py",
        ("twice the Hessian", "return product.detach()", "return 2 * product.detach()"),
    ),
    *breakages(
        "samplers/base.py",
        "samplers/test_adjusted.py",
        (
            "no log-determinant",
            "(x - law.mean) ** 2 / variance + variance.log()",
            "(x - law.mean) ** 2 / variance",
        ),
        ("log-determinant twice", "variance + variance.log()", "variance + 2 * variance.log()"),
        (
            "log-determinant of one element a sample",
            "+ variance.log()) / 2",
            ") / 2 - per_chain(law.variance.log()) / 2",
        ),
    ),
    # Langevin and its Metropolis test.
    *breakages(
        "samplers/langevin.py",
        "samplers/test_langevin.py",
        ("drift uphill", "state.x - self.step_size / 2", "state.x + self.step_size / 2"),
        ("drift h", "self.step_size / 2 * state.grad", "self.step_size * state.grad"),
        ("noise h for √h", "h**0.5 * noise", "h * noise"),
        ("noise √(2h)", "h**0.5 * noise", "(2 * h) ** 0.5 * noise"),
    ),
    *breakages(
        "samplers/langevin.py",
        "samplers/test_adjusted.py",
        (
            "ratio flipped",
            "per_chain(noise**2 - back**2 / h) / 2",
            "per_chain(back**2 / h - noise**2) / 2",
        ),
        (
            "ratio without its half",
            "per_chain(noise**2 - back**2 / h) / 2",
            "per_chain(noise**2 - back**2 / h)",
        ),
        ("way back over h²", "back**2 / h)", "back**2 / h**2)"),
        ("way back with the gradient of x", "h / 2 * candidate.grad", "h / 2 * state.grad"),
        (
            "way back without drift",
            "state.x - candidate.x + h / 2 * candidate.grad",
            "state.x - candidate.x",
        ),
        (
            "way back uphill",
            "state.x - candidate.x + h / 2",
            "state.x - candidate.x - h / 2",
        ),
    ),
    *breakages(
        "samplers/mala.py",
        "samplers/test_mala.py",
        (
            "no proposal ratio",
            "metropolis(state, candidate, log_ratio,",
            "metropolis(state, candidate, 0 * log_ratio,",
        ),
        (
            "half the step size",
            "h, noise = self.step_size, normal",
            "h, noise = self.step_size / 2, normal",
        ),
        ("drift uphill", "state.x - self.step_size / 2", "state.x + self.step_size / 2"),
        ("noise h for √h", "h**0.5 * noise", "h * noise"),
        ("ratio of the way back", "log_ratio = self.log_ratio(", "log_ratio = -self.log_ratio("),
        ("ratio without its half", "back**2 / h) / 2", "back**2 / h)"),
        ("way back over h²", "back**2 / h)", "back**2 / h**2)"),
        ("way back with the gradient of x", "h / 2 * candidate.grad", "h / 2 * state.grad"),
        ("way back uphill", "state.x - candidate.x + h / 2", "state.x - candidate.x - h / 2"),
    ),
    # STANLEY.
    *breakages(
        "samplers/stanley.py",
        "samplers/test_stanley.py",
        (
            "noise not scaled",
            "return Law(mean, h * gamma, signs)",
            "return Law(mean, h * gamma**0, signs)",
        ),
        (
            "noise scaled by γ, not √γ",
            "return Law(mean, h * gamma, signs)",
            "return Law(mean, h * gamma**2, signs)",
        ),
        ("drift not scaled", "h / 2 * gamma * state.grad", "h / 2 * state.grad"),
        ("drift scaled by √γ", "h / 2 * gamma * state.grad", "h / 2 * gamma**0.5 * state.grad"),
        (
            "floor ignored",
            "scale(state.grad, state.threshold, self.scope, self.floor)",
            "scale(state.grad, state.threshold, self.scope)",
        ),
        (
            "correction with the wrong sign",
            "mean + h * self.divergence",
            "mean - h * self.divergence",
        ),
        ("half the correction", "mean + h * self.divergence", "mean + h / 2 * self.divergence"),
        (
            "divergence without its half",
            "-gamma * curvature / square / 2",
            "-gamma * curvature / square",
        ),
        (
            "divergence over |g|",
            "torch.where(active, size, 1.0) ** 2",
            "torch.where(active, size, 1.0)",
        ),
        (
            "divergence also where γ = 1",
            "(size > state.threshold) & (gamma > self.floor)",
            "gamma > self.floor",
        ),
        (
            "divergence also on the floor",
            "(size > state.threshold) & (gamma > self.floor)",
            "size > state.threshold",
        ),
        (
            "pixel curvature of all pixels",
            "signs * hessian_vector(potential, state.x, signs * g)",
            "hessian_vector(potential, state.x, g)",
        ),
        (
            "element curvature of all elements",
            "signs * hessian_vector(potential, state.x, signs) * g",
            "hessian_vector(potential, state.x, g)",
        ),
        (
            "element probe with one sign",
            "signs * hessian_vector(potential, state.x, signs) * g",
            "hessian_vector(potential, state.x, signs) * g",
        ),
        (
            "sample curvature by row sums",
            "curvature = hessian_vector(potential, state.x, g)",
            "curvature = g * hessian_vector(potential, state.x, g**0)",
        ),
        (
            "signs always +1",
            "return signs_like(x, generator, shape)",
            "return signs_like(x, generator, shape) ** 2",
        ),
        (
            "pixel signs per element",
            'tuple(x.shape) if self.scope == "element" else (x.shape[0], 1, *x.shape[2:])',
            "tuple(x.shape)",
        ),
        (
            "midpoint without its half",
            "(1 + self.scale(there) / self.scale(state)) / 2 * noise",
            "(1 + self.scale(there) / self.scale(state)) * noise",
        ),
        (
            "midpoint by the ratio alone",
            "(1 + self.scale(there) / self.scale(state)) / 2 * noise",
            "self.scale(there) / self.scale(state) * noise",
        ),
        (
            "midpoint with √ of the ratio",
            "self.scale(there) / self.scale(state))",
            "(self.scale(there) / self.scale(state)).sqrt())",
        ),
        (
            "midpoint from where the chain is",
            "evaluate(potential, law.mean + noise)._replace",
            "evaluate(potential, state.x + noise)._replace",
        ),
        (
            "kept γ squared after a step",
            "threshold=state.threshold, scale=state.scale)",
            "threshold=state.threshold, scale=None if state.scale is None else state.scale**2)",
        ),
        ("lagged γ is the chain's own", "donors.roll(-1)", "donors"),
        ("lagged γ from a lost chain", "finite = finite_chains(grad)", "finite = order >= 0"),
        (
            "a gradient of the drift not counted",
            "                3 if self.correction",
            "                2 if self.correction",
        ),
    ),
    *breakages(
        "samplers/stanley.py",
        "samplers/test_adjusted.py",
        (
            "ratio flipped",
            "log_normal(state.x, reverse) - log_normal(candidate.x, move)",
            "log_normal(candidate.x, move) - log_normal(state.x, reverse)",
        ),
        (
            "way back with the γ of x",
            "self.law(potential, candidate, move.signs)",
            "self.law(potential, candidate, move.signs)._replace(variance=move.variance)",
        ),
        (
            "way back with other signs",
            "self.law(potential, candidate, move.signs)",
            "self.law(potential, candidate, None if move.signs is None else move.signs**0)",
        ),
        (
            "gradients of the ratio not counted",
            "log_ratio_gradients=2 if",
            "log_ratio_gradients=0 if",
        ),
    ),
    *breakages(
        "samplers/stanley.py",
        "samplers/test_run.py",
        (
            "largest γ reported for the mean",
            "gamma.flatten(1).mean(1)",
            "gamma.flatten(1).amax(1)",
        ),
    ),
    # The controls of its claim.
    *breakages(
        "samplers/clipped.py",
        "samplers/test_clipped.py",
        ("drift not clipped", "/ 2 * gamma * state.grad", "/ 2 * state.grad"),
        ("drift h", "/ 2 * gamma * state.grad", "* gamma * state.grad"),
        ("noise scaled as well", "h**0.5 * noise", "(h * gamma) ** 0.5 * noise"),
        (
            "law of twice the noise",
            "number_like(self.step_size,",
            "number_like(2 * self.step_size,",
        ),
    ),
    *breakages(
        "samplers/clipped.py",
        "samplers/test_adjusted.py",
        ("way back not clipped", "self.scale(candidate) * candidate.grad", "candidate.grad"),
        (
            "way back clipped as at x",
            "self.scale(candidate) * candidate.grad",
            "self.scale(state) * candidate.grad",
        ),
    ),
    *breakages(
        "samplers/matched.py",
        "samplers/test_matched.py",
        ("full noise", "h * mean_gamma)", "h * mean_gamma**0)"),
        ("noise by γ̄, not √γ̄", "h * mean_gamma)", "h * mean_gamma**2)"),
        ("noise anisotropic", "h * mean_gamma)", "h * gamma)"),
        ("mean of √γ", "mean_gamma = gamma.flatten(1)", "mean_gamma = gamma.sqrt().flatten(1)"),
        (
            "γ̄ of each chain alone",
            ".where(finite, torch.nan).nanmean()",
            ".view(-1, *[1] * (gamma.dim() - 1))",
        ),
        ("γ̄ over lost chains too", ".where(finite, torch.nan).nanmean()", ".mean()"),
        ("drift by γ̄", "h / 2 * gamma * state.grad", "h / 2 * mean_gamma * state.grad"),
    ),
    *breakages(
        "samplers/adjusted.py",
        "samplers/test_adjusted.py",
        (
            "no proposal ratio",
            "metropolis(state, candidate, log_ratio,",
            "metropolis(state, candidate, 0 * log_ratio,",
        ),
        ("ratio subtracted", "log_ratio = self.proposal", "log_ratio = -self.proposal"),
        (
            "gradients of the ratio not counted",
            "gradients=inner.gradients + inner.log_ratio_gradients",
            "gradients=inner.gradients",
        ),
    ),
    # The other moves.
    *breakages(
        "samplers/hmc.py",
        "samplers/test_hmc.py",
        (
            "last half kick missing",
            "        momentum = momentum - kick\n    return ChainState",
            "    return ChainState",
        ),
        (
            "first kick whole",
            "state.potential, half * state.grad",
            "state.potential, step_size * state.grad",
        ),
        ("half a drift", "x = x + step_size * momentum", "x = x + step_size / 2 * momentum"),
        (
            "gradient not refreshed",
            "        kick = half * grad  #",
            "        kick = half * state.grad  #",
        ),
        (
            "kinetic energies flipped",
            "per_chain(momentum**2 - end**2) / 2",
            "per_chain(end**2 - momentum**2) / 2",
        ),
        (
            "kinetic energy without its half",
            "per_chain(momentum**2 - end**2) / 2",
            "per_chain(momentum**2 - end**2)",
        ),
        (
            "momenta of variance 2",
            "self.length(generator), normal_like(state.x, generator)",
            "self.length(generator), 2**0.5 * normal_like(state.x, generator)",
        ),
        ("one step too many", "for _ in range(num)", "for _ in range(num + 1)"),
        (
            "jitter up to the mean only",
            "1, 2 * self.num_leapfrog, (), generator",
            "1, self.num_leapfrog + 1, (), generator",
        ),
        (
            "jitter from 0",
            "                1, 2 * self.num_leapfrog, ()",
            "                0, 2 * self.num_leapfrog, ()",
        ),
        ("jitter the wrong way round", "if not self.jitter:", "if self.jitter:"),
        ("jitter from the global generator", "(), generator=generator, device", "(), device"),
    ),
    *breakages(
        "samplers/random_walk.py",
        "samplers/test_random_walk.py",
        ("noise h for √h", "self.step_size**0.5 * noise", "self.step_size * noise"),
        ("a ratio that is not 1", "state.x.new_zeros(", "state.x.new_ones("),
        (
            "noise one-sided",
            "noise = normal_like(state.x, generator)",
            "noise = normal_like(state.x, generator).abs()",
        ),
    ),
    *breakages(
        "samplers/barker.py",
        "samplers/test_barker.py",
        ("uphill", "torch.sigmoid(-z * state.grad)", "torch.sigmoid(z * state.grad)"),
        ("noise h for √h", "self.step_size**0.5 *", "self.step_size *"),
        (
            "way back with the sign of the way there",
            "logsigmoid(move * candidate.grad)",
            "logsigmoid(-move * candidate.grad)",
        ),
        (
            "way back with the gradient of x",
            "logsigmoid(move * candidate.grad)",
            "logsigmoid(move * state.grad)",
        ),
        ("ratio flipped", "per_chain(logsigmoid(move", "-per_chain(logsigmoid(move"),
        (
            "logarithm after the sigmoid",
            "logsigmoid(move * candidate.grad)",
            "torch.sigmoid(move * candidate.grad).log()",
        ),
        (
            "one sign for all components",
            "uniform_like(z, generator)",
            "uniform_like(z[(slice(None), *[slice(1)] * (z.dim() - 1))], generator)",
        ),
    ),
    *breakages(
        "samplers/tamed.py",
        "samplers/test_tamed.py",
        ("not tamed", "/ 2 * taming * state.grad", "/ 2 * state.grad"),
        ("tamed by h", "self.step_size / 2 * magnitude", "self.step_size * magnitude"),
        ("noise tamed as well", "h**0.5 * noise", "(h * taming) ** 0.5 * noise"),
    ),
    *breakages(
        "samplers/tamed.py",
        "samplers/test_adjusted.py",
        ("way back tamed as at x", "self.taming(candidate)", "self.taming(state)"),
    ),
    *breakages(
        "samplers/amala.py",
        "samplers/test_amala.py",
        ("no log-determinant", "-(form + (square / epsilon).log1p()) / 2", "-form / 2"),
        ("noise not stretched", "+ drift * zeta)", "+ 0 * drift * zeta)"),
        ("drift h", "state.x + h / 2 * drift + noise", "state.x + h * drift + noise"),
        ("drift uphill", "drift = -gamma * state.grad", "drift = gamma * state.grad"),
        (
            "way back with the drift of x",
            "self.log_normal(reverse, back)",
            "self.log_normal(reverse, there)",
        ),
        ("ε for √ε", "self.epsilon**0.5 * xi", "self.epsilon * xi"),
        (
            "a stretch per element",
            "normal_like(gamma, generator)",
            "normal_like(state.x, generator)",
        ),
        ("stretch of 1 in the density", "h * (epsilon + square))", "h * (epsilon + 1))"),
        ("h for √h", "noise = h**0.5 *", "noise = h *"),
    ),
    *breakages(
        "samplers/underdamped.py",
        "samplers/test_underdamped.py",
        ("last half kick missing", "memory=p - dt / 2 * after.grad", "memory=p"),
        (
            "last kick with the old gradient",
            "memory=p - dt / 2 * after.grad",
            "memory=p - dt / 2 * state.grad",
        ),
        ("first kick whole", "p = p - dt / 2 * state.grad", "p = p - dt * state.grad"),
        ("first drift whole", "x = state.x + dt / 2 * p", "x = state.x + dt * p"),
        ("noise 1 - c", "(1 - keep**2) ** 0.5", "(1 - keep)"),
        ("noise √(1 - c)", "(1 - keep**2) ** 0.5", "(1 - keep) ** 0.5"),
        (
            "c by Euler",
            "math.e ** (-self.friction * self.step_size)",
            "1 - self.friction * self.step_size",
        ),
        (
            "momenta redrawn at each step",
            "normal_like(state.x, generator) if state.memory is None else state.memory",
            "normal_like(state.x, generator)",
        ),
    ),
    *breakages(
        "samplers/preconditioned_langevin.py",
        "samplers/test_preconditioned_langevin.py",
        (
            "metric of V, not √V",
            "(self.epsilon + self.corrected(moment).sqrt())",
            "(self.epsilon + self.corrected(moment))",
        ),
        (
            "bias corrected as at the first step",
            "moment.value / (1 - self.beta**moment.steps)",
            "moment.value / (1 - self.beta)",
        ),
        ("noise not scaled", "Law(mean, h * metric, signs)", "Law(mean, h * metric**0, signs)"),
        ("noise by G, not √G", "Law(mean, h * metric, signs)", "Law(mean, h * metric**2, signs)"),
        ("drift not scaled", "h / 2 * metric * state.grad", "h / 2 * state.grad"),
        (
            "β and 1 - β exchanged",
            "self.beta * value + (1 - self.beta) *",
            "(1 - self.beta) * value + self.beta *",
        ),
        (
            "past forgotten",
            "candidate._replace(memory=moment)",
            "candidate._replace(memory=state.memory)",
        ),
        ("first moment", "* state.grad**2, steps + 1", "* state.grad.abs(), steps + 1"),
        (
            "correction with the wrong sign",
            "mean + h / 2 * self.divergence",
            "mean - h / 2 * self.divergence",
        ),
        ("correction h", "mean + h / 2 * self.divergence", "mean + h * self.divergence"),
        (
            "correction by G",
            "self.metric(moment) ** 2 * direction",
            "self.metric(moment) * direction",
        ),
        ("correction without its weight", "return -weight * self.metric", "return -self.metric"),
    ),
    *breakages(
        "samplers/preconditioned.py",
        "samplers/test_preconditioned.py",
        ("gradient times s", "inner.grad / self.scale.to(x)", "inner.grad * self.scale.to(x)"),
        ("gradient in z", "inner.grad / self.scale.to(x)", "inner.grad"),
        ("stretched the wrong way", "self.energy(self.scale * z)", "self.energy(z / self.scale)"),
        ("start in x", "return x / self.scale.to(x)", "return x"),
        (
            "what stayed is recomputed",
            "torch.where(stayed, state.x, self.scale.to(state.x) * after.x)",
            "self.scale.to(state.x) * after.x",
        ),
        (
            "the old state in z",
            "return self.outer(after, torch.where(stayed",
            "return self.outer(after._replace(x=state.memory.x), torch.where(stayed",
        ),
    ),
    *breakages(
        "samplers/replica.py",
        "samplers/test_replica.py",
        ("swap with the wrong sign", "(1 / t_low - 1 / t_high) *", "(1 / t_high - 1 / t_low) *"),
        (
            "swap by temperatures, not their inverses",
            "(1 / t_low - 1 / t_high) *",
            "(t_high - t_low) *",
        ),
        (
            "swap by U/T for U",
            "(t * per_chain(s.potential[:, None])",
            "(per_chain(s.potential[:, None])",
        ),
        ("rescaled the wrong way", "ratio = t_high / t_low", "ratio = t_low / t_high"),
        ("gradient handed down unscaled", "grad=high.grad * ratio", "grad=high.grad"),
        (
            "potential handed up unscaled",
            "potential=low.potential / ratio",
            "potential=low.potential",
        ),
        ("copied down, not swapped", "choose(accept, up, high)", "high"),
        (
            "NaN accepted",
            "accept = valid & (coin.log() < log_alpha)",
            "accept = ~(coin.log() >= log_alpha)",
        ),
        ("always the even pairs", "range(rounds % 2,", "range(0,"),
        ("rounds not counted", "rounds + 1)", "rounds)"),
        ("one step size for all", "self.step_size * temperature**self.power", "self.step_size"),
        (
            "cooled, not heated",
            "Potential(potential, temperature)",
            "Potential(potential, 1 / temperature)",
        ),
        (
            "one coin for all chains",
            "uniform_like(log_alpha, generator)",
            "uniform_like(log_alpha[:1], generator)",
        ),
    ),
    *breakages(
        "samplers/descent.py",
        "samplers/test_descent.py",
        ("uphill", "state.x - self.step_size", "state.x + self.step_size"),
        ("drift h", "self.step_size / 2 * state.grad", "self.step_size * state.grad"),
    ),
    *breakages(
        "samplers/scale.py",
        "samplers/test_scale.py samplers/test_stanley.py",
        (
            "γ = th/(th + |∇U|)",
            "torch.maximum(magnitude(grad, scope), threshold)",
            "(magnitude(grad, scope) + threshold)",
        ),
        ("γ above 1", "torch.maximum(magnitude(grad, scope), threshold)", "magnitude(grad, scope)"),
        ("γ = th²/…", "gamma = threshold / ", "gamma = threshold**2 / "),
        (
            "pixel norm over the event",
            "vector_norm(grad, dim=1, keepdim=True)",
            "vector_norm(grad, dim=(1, 2, 3), keepdim=True)",
        ),
        ("element squared", "return grad.abs()", "return grad**2"),
        (
            "sample norm of order 1",
            "vector_norm(grad, dim=tuple(",
            "vector_norm(grad, 1, dim=tuple(",
        ),
        ("quantile from above", "(threshold.quantile * (", "((1 - threshold.quantile) * ("),
        ("quantile rank rounded down", ".round().long()", ".floor().long()"),
        (
            "quantile over lost chains too",
            "finite.sum(-1) - 1)",
            "finite.sum(-1) * 0 + size.shape[-1] - 1)",
        ),
        ("floor added", "gamma.clamp(min=floor)", "gamma + floor"),
    ),
    *breakages(
        "samplers/adapt.py",
        "samplers/test_adapt.py",
        ("step grows where too little is accepted", "self.centre - n**0.5", "self.centre + n**0.5"),
        ("weights without n₀", "/ (n + n0)", "/ n"),
        ("n for √n", "n**0.5 / kappa", "n / kappa"),
        (
            "last step for the mean",
            "n**-c * self.log_step + (1 - n**-c) * self.log_mean",
            "self.log_step",
        ),
        (
            "weights of the mean exchanged",
            "n**-c * self.log_step + (1 - n**-c) *",
            "(1 - n**-c) * self.log_step + n**-c *",
        ),
        (
            "the last h returned for its mean",
            "found = with_step_size(sampler, averaging.mean_step_size)",
            "found = with_step_size(sampler, averaging.step_size)",
        ),
        ("acceptance over lost chains too", "/ finite.sum().clamp(min=1)", "/ len(finite)"),
        ("burn-in kept", "if n >= num_steps // 2:", "if n >= 0:"),
        (
            "second moment for the variance",
            "self.second / self.count - (self.first / self.count) ** 2",
            "self.second / self.count",
        ),
        ("steepness for its inverse", '"gradients": 1 / steepness', '"gradients": steepness'),
        (
            "variance over steepness without √",
            '"both": (variance / steepness).sqrt()',
            '"both": variance / steepness',
        ),
        ("variance for the width", "square.sqrt().to(self.type)", "square.to(self.type)"),
        (
            "search goes on from the last h",
            'natural = {"step_size": 1.0}',
            "natural = {}",
        ),
        (
            "quantile resolved at the start",
            "n == len(windows) and has_quantile",
            "n == 1 and has_quantile",
        ),
        ("Robbins-Monro the wrong way", "(acceptance - target)", "(target - acceptance)"),
        (
            "Robbins-Monro without bound",
            "return min(\n            float(sampler.step_size), step_size * math.exp(self.rate * "
            "(acceptance - target))\n        )",
            "return step_size * math.exp(self.rate * (acceptance - target))",
        ),
        ("Robbins-Monro at twice the rate", "math.exp(self.rate *", "math.exp(2 * self.rate *"),
    ),
    *breakages(
        "samplers/run.py",
        "samplers/test_run.py samplers/test_langevin.py",
        ("draws one step early", "n % keep_every == 0", "(n + 1) % keep_every == 0"),
    ),
    *breakages(
        "samplers/totals.py",
        "samplers/test_run.py samplers/test_langevin.py",
        ("sum of |∇U| for its mean", "sums.grad_norm / num_steps", "sums.grad_norm"),
        ("sum of α for its mean", "(sums.acceptance / num_steps)", "sums.acceptance"),
        ("the first gradient not counted", "self.cost.init_gradients - left_out", "0 - left_out"),
        ("lost chains not marked", "nonfinite=~finite", "nonfinite=~finite & False"),
        ("γ summed, not averaged", "sums.scale / num_steps if", "sums.scale if"),
    ),
    *breakages(
        "samplers/totals.py",
        "samplers/test_mala.py",
        (
            "refusals of the last step only",
            "invalid = invalid + info.invalid",
            "invalid = info.invalid",
        ),
    ),
    *breakages(
        "samplers/totals.py",
        "samplers/test_replica.py",
        (
            "swaps over all rounds",
            "self.swaps / self.swap_rounds",
            "self.swaps / self.swap_rounds.max()",
        ),
    ),
    *breakages(
        "samplers/clipped.py",
        "training/test_kl_term.py",
        (
            "law without its clipping",
            "Law(self.mean(state, self.scale(state))",
            "Law(self.mean(state, self.scale(state) ** 0)",
        ),
    ),
    *breakages(
        "samplers/langevin.py",
        "training/test_kl_term.py",
        (
            "law of the whole step",
            "Law(self.mean(state)",
            "Law(2 * self.mean(state) - state.x",
        ),
    ),
    *breakages(
        "samplers/run.py",
        "training/test_kl_term.py",
        (
            "before is after",
            "n, before, x = n + 1, x, after",
            "n, before, x = n + 1, after, after",
        ),
    ),
    *breakages(
        "samplers/run.py",
        "samplers/test_langevin.py",
        ("the last gradient taken", "            if n < last:", "            if True:"),
        (
            "every gradient left out",
            "            if n < last:",
            "            if last == num_steps:",
        ),
    ),
    *breakages(
        "samplers/totals.py",
        "samplers/test_langevin.py",
        (
            "the one left out counted",
            "self.cost.init_gradients - left_out",
            "self.cost.init_gradients",
        ),
    ),
    *breakages(
        "samplers/stanley.py",
        "samplers/test_stanley.py",
        (
            "a gradient at the midpoint left out",
            'gradient_is_for_next=self.correction == "none"',
            "gradient_is_for_next=True",
        ),
    ),
    *breakages(
        "samplers/traits.py",
        "samplers/test_traits.py",
        ("a changed step leaves its gradient out", "and len(set(of.values())) == 1", ""),
    ),
)
