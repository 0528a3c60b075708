"""Whether the tests notice: deliberate breakages of the mathematics, one at a time, each of which a
test must catch.

    python tests/mutations.py [--only SUBSTRING] [--jobs 2] [--list]

A copy of src and tests is broken, never the tree itself. First the named test files run on the
untouched copy and must pass, else a failure would say nothing. Then each mutation replaces one
piece of text, and its test files must fail. Caught means that a test failed, or that it ran beyond
the time limit; a module that no longer imports, or a name or a type that does not fit, is no
breakage of the mathematics and counts as missed. Not true: that what is caught was caught for the
right reason, nor that a suite which catches all of these catches every error.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import queue
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CRASHES = (
    "NameError",
    "TypeError",
    "AttributeError",
    "SyntaxError",
    "ImportError",
    "UnboundLocalError",
)
SAID = "said.txt"
#: Processes forked from one that has loaded torch already, which saves half of the time; started
#: afresh on Windows.
WARM = multiprocessing.get_context("spawn" if sys.platform == "win32" else "forkserver")
# seconds; a mutation may take so long, or five times what its untouched tests took
LEAST_LIMIT = 60.0


@dataclass(frozen=True)
class Mutation:
    """One breakage: `old` occurs exactly once in the file, and `tests` must fail where `new` stands
    instead.
    """

    name: str
    file: str  # in src/stanley
    old: str
    new: str
    tests: tuple[str, ...]  # in tests

    def applied(self, text: str) -> str:
        """The broken text; stops where the mutation no longer fits the file."""
        found = text.count(self.old)
        if found != 1 or self.old == self.new:
            sys.exit(
                f"stale mutation {self.name!r}: {self.old!r} occurs {found} times in {self.file},"
                " must be once"
            )
        return text.replace(self.old, self.new)


def breakages(file: str, tests: str, *changes: tuple[str, str, str]) -> Iterator[Mutation]:
    """(what is wrong, old, new) in one file, to be caught by the same test files."""
    for what, old, new in changes:
        yield Mutation(f"{Path(file).stem}: {what}", file, old, new, tuple(tests.split()))


MUTATIONS: tuple[Mutation, ...] = (
    # Metrics in features.
    *breakages(
        "metrics/cubic_kernel.py",
        "metrics/test_cubic_kernel.py",
        ("the diagonal is kept", "if same else sums", "if False else sums"),
        ("square kernel", "+ 1) ** 3\n\n", "+ 1) ** 2\n\n"),
        ("jackknife loses a row once", "own.sum() - 2 * own", "own.sum() - own"),
        ("jackknife of an average", "float((n - 1) / n * (without", "float(1 / n * (without"),
    ),
    *breakages(
        "metrics/neighbours.py",
        "metrics/test_neighbours.py",
        ("a row is its own neighbour", "= torch.inf  #", "= distance[here, start + here]  #"),
        ("recall by the data's balls", "distance <= radius_of_samples", "distance <= r[:, None]"),
        ("density over all rows", "(k * len(samples))", "(k * len(real))"),
        ("coverage by the farthest", "distance.amin(1)", "distance.amax(1)"),
    ),
    *breakages(
        "metrics/classes.py",
        "metrics/test_classes.py",
        ("the marginal over classes", "p.mean(0)", "p.mean(0).square()"),
        ("the logarithm", "return kl.exp()", "return kl"),
    ),
    *breakages(
        "metrics/extrapolation.py",
        "metrics/test_extrapolation.py",
        ("against n", "np.polyfit(1 / np.array(sizes)", "np.polyfit(np.array(sizes)"),
    ),
    *breakages(
        "metrics/detection.py",
        "metrics/test_detection.py",
        ("ties lose", "(below + up_to).double()", "(2 * below).double()"),
        ("90 percent", "-(-95 * len(inside) // 100)", "-(-90 * len(inside) // 100)"),
        ("above the threshold", "(outside <= threshold)", "(outside < threshold)"),
        ("in as out", "average_precision(-inside, -outside)", "average_precision(inside, outside)"),
        (
            "pixels permuted alike",
            "torch.rand(n, 1, h * w, **place)",
            "torch.rand(1, 1, h * w, **place)",
        ),
    ),
    *breakages(
        "metrics/likelihood.py",
        "metrics/test_likelihood.py",
        (
            "the last weight is left out",
            "for k in range(1, K + 1):\n            log_w =",
            "for k in range(1, K):\n            log_w =",
        ),
        ("reverse as forward", "log_w = log_w - (self", "log_w = log_w + (self"),
        (
            "reverse moves at the wrong level",
            "self.move(samplers[k - 1], k - 1, x)",
            "self.move(samplers[k - 1], 1, x)",
        ),
        ("reference without its constant", "+ LOG_2PI\n", "\n"),
        ("127.5", "/ bits + 7, upper", "/ bits + math.log2(127.5), upper"),
        (
            "potential at half strength",
            "+ self.beta * self.energy(x)",
            "+ self.beta**2 * self.energy(x)",
        ),
    ),
    *breakages(
        "features/inception.py",
        "features/test_inception.py",
        ("padding is averaged", "count_include_pad=False", "count_include_pad=True"),
        (
            "half pixels",
            "device=x.device) * (size / side)",
            "device=x.device).add(0.5) * (size / side)",
        ),
        ("mean in the last block", 'if self.pool == "max":', 'if self.pool == "none":'),
    ),
    *breakages(
        "features/reference.py",
        "features/test_reference.py",
        ("the probe is not looked at", "> PROBE_TOLERANCE *", "> 1e9 *"),
        (
            "the checksum is not looked at",
            '"feature": name, "checksum": checksum}',
            '"feature": name}',
        ),
        ("shape is not data", 'f"{data.dtype} {tuple(data.shape)}".encode()', 'b""'),
    ),
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
            "return torch.randn(\n                self.shape, generator=generator, dtype=self.dtype, device=self.device\n            )",
            "return 12**0.5 * (torch.rand(self.shape, generator=generator, dtype=self.dtype) - 0.5)",
        ),
    ),
    *breakages(
        "samplers/noise.py",
        "samplers/test_execution.py",
        ("the tape begins anew", "return next(self.numbers)", "return next(iter([*self.numbers]))"),
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
            "size.append(step_size_of(sampler, state))",
            "size.append(state.x.new_tensor(0.1, dtype=torch.float64))",
        ),
        (
            "any temperature",
            "return kind, potential, training",
            "return kind, networks_in(potential), training",
        ),
    ),
    *breakages(
        "samplers/base.py",
        "samplers/test_chunked.py",
        (
            "gradients of the first chunk for all",
            "torch.cat(grad))",
            "torch.cat([grad[0]] * len(grad))[: len(x)])",
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
        "streams.py",
        "test_streams.py",
        (
            "names that run together",
            "json.dumps([int(seed), *name])",
            '" ".join(map(str, [int(seed), *name]))',
        ),
        (
            "seeds that run together",
            "json.dumps([int(seed), *name])",
            "json.dumps([int(seed) % 2, *name])",
        ),
        ("held-out rows by another rule", "manual_seed(seed)\n", "manual_seed(seed_of(seed))\n"),
    ),
    *breakages(
        "models/trained.py",
        "models/test_potential.py",
        (
            "chunks and precision forgotten",
            "return self.config.potential(self.energy)",
            "return type(self.config.potential(self.energy))(self.energy, self.config.temperature)",
        ),
        (
            "a Metropolis test on rounded energies",
            "potential_for(self.sampler, self.potential),",
            "self.potential,",
        ),
    ),
    *breakages(
        "judging/evaluate.py",
        "models/test_potential.py",
        (
            "energies all at once",
            "values(in_float32(model.potential).energy,",
            "values(model.energy,",
        ),
        (
            "energies rounded",
            "values(in_float32(model.potential).energy,",
            "values(model.potential.energy,",
        ),
    ),
    *breakages(
        "types.py",
        "test_layers.py",
        (
            "the first of several energies",
            "energy in wrapped_in(potential):",
            "energy in wrapped_in(potential)[:1]:",
        ),
        ("the largest chunk", "return min(\n        (layer", "return max(\n        (layer"),
        (
            "bfloat16 left in",
            "return rewrapped(potential, lambda u: u.energy if",
            "return rewrapped(potential, lambda u: u if",
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
            "        momentum = momentum - step_size / 2 * state.grad\n    return state, momentum",
            "    return state, momentum",
        ),
        (
            "first kick whole",
            "for _ in range(num):\n        momentum = momentum - step_size / 2 *",
            "for _ in range(num):\n        momentum = momentum - step_size *",
        ),
        ("half a drift", "state.x + step_size * momentum", "state.x + step_size / 2 * momentum"),
        (
            "gradient not refreshed",
            "state.x + step_size * momentum)",
            "state.x + step_size * momentum)._replace(grad=state.grad)",
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
        ("gradient times s", "grad=inner.grad / scale", "grad=inner.grad * scale"),
        ("gradient in z", "grad=inner.grad / scale", "grad=inner.grad"),
        ("stretched the wrong way", "self.energy(self.scale * z)", "self.energy(z / self.scale)"),
        ("start in x", "x.detach() / s)", "x.detach())"),
        (
            "what stayed is recomputed",
            "torch.where(after.x == before.x, state.x, s * after.x)",
            "s * after.x",
        ),
        (
            "the old state in z",
            "return outer(after, x, s), info",
            "return outer(after._replace(x=before.x), x, s), info",
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
            "finite.sum() - 1)",
            "finite.sum() * 0 + size.numel() - 1)",
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
            "with_step_size(sampler, averaging.mean_step_size), state.x",
            "with_step_size(sampler, averaging.step_size), state.x",
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
            "with_step_size(without_preconditioner(sampler), 1.0)",
            "plain(sampler)",
        ),
        (
            "quantile resolved at the start",
            "n == len(windows) and has_quantile",
            "n == 1 and has_quantile",
        ),
        ("Robbins-Monro the wrong way", "(acceptance - target)", "(target - acceptance)"),
        (
            "Robbins-Monro without bound",
            "return min(\n            float(sampler.step_size), step_size * math.exp(self.rate * (acceptance - target))\n        )",
            "return step_size * math.exp(self.rate * (acceptance - target))",
        ),
        ("Robbins-Monro at twice the rate", "math.exp(self.rate *", "math.exp(2 * self.rate *"),
    ),
    *breakages(
        "samplers/run.py",
        "samplers/test_run.py samplers/test_langevin.py",
        ("draws one step early", "n % keep_every == 0", "(n + 1) % keep_every == 0"),
        ("sum of |∇U| for its mean", "self.grad_norm / num_steps", "self.grad_norm"),
        ("sum of α for its mean", "(self.acceptance / num_steps)", "self.acceptance"),
        ("the first gradient not counted", "= self.cost.init_gradients", "= 0"),
        ("lost chains not marked", "nonfinite=~finite", "nonfinite=~finite & False"),
        ("γ summed, not averaged", "self.scale / num_steps if", "self.scale if"),
    ),
    *breakages(
        "samplers/run.py",
        "samplers/test_mala.py",
        ("refusals of the last step only", "self.invalid + info.invalid", "info.invalid"),
    ),
    *breakages(
        "samplers/run.py",
        "samplers/test_replica.py",
        ("swaps over all rounds", "self.swaps / self.swap_rounds", "self.swaps / num_steps"),
    ),
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
    *breakages(
        "uses/inpainting.py",
        "uses/test_potentials.py",
        (
            "the unknown coordinates are the known ones",
            "self.mask.flatten().nonzero()",
            "(~self.mask).flatten().nonzero()",
        ),
        (
            "images' rows are exchanged",
            "row_per_chain(images, per_image), mask)",
            "row_per_chain(images.flip(0), per_image), mask)",
        ),
        (
            "z is written in another order",
            "index_copy(-1, self.index, z)",
            "index_copy(-1, self.index.flip(0), z)",
        ),
    ),
    *breakages(
        "uses/denoising.py",
        "uses/test_potentials.py",
        ("misfit without the half", "/ (2 * self.std**2)", "/ (self.std**2)"),
        ("σ for σ²", "/ (2 * self.std**2)", "/ (2 * self.std)"),
        ("misfit of the other sign", "+ (y - x).square()", "- (y - x).square()"),
        (
            "images' rows are exchanged",
            "row_per_chain(observed, per_image)",
            "row_per_chain(observed.flip(0), per_image)",
        ),
    ),
    *breakages(
        "uses/composition.py",
        "uses/test_potentials.py",
        ("weights left out", "w * u(x) for w, u", "u(x) for w, u"),
        (
            "a mean, not a sum",
            "return sum(rest, first)",
            "return sum(rest, first) / len(self.energies)",
        ),
    ),
    *breakages(
        "uses/interpolation.py",
        "uses/test_paths_and_scores.py",
        ("climbs", "x - step_size / 2 * state.grad", "x + step_size / 2 * state.grad"),
        ("never spread evenly", "new = equally_spaced(relaxed)", "new = relaxed"),
        ("ends slide", "relaxed[0], relaxed[-1] = a, b", "pass"),
    ),
    *breakages(
        "uses/scoring.py",
        "uses/test_paths_and_scores.py",
        (
            "gradient's square",
            "torch.linalg.vector_norm(s.grad.flatten(1), dim=1) for",
            "s.grad.flatten(1).square().sum(1) for",
        ),
        ("ties count whole", "right=False)", "right=True)"),
        ("ties count nothing", "right=True)", "right=False)"),
    ),
    *breakages(
        "metrics/similarity.py",
        "metrics/test_similarity.py",
        ("range not squared", "10 * (data_range**2 /", "10 * (data_range /"),
        ("window of another width", "(2 * SIGMA**2)", "(2 * SIGMA)"),
        ("second moments not central", "average(x * y) - mx * my", "average(x * y)"),
        (
            "C₁ for C₂",
            "c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2",
            "c1, c2 = (K1 * data_range) ** 2, (K1 * data_range) ** 2",
        ),
        ("a where that is ignored", "square = square[..., where]", "pass"),
    ),
    *breakages(
        "data/base.py",
        "data/test_data_mnist.py",
        ("every class but one", "rows[labels == label]", "rows[labels != label]"),
    ),
    # Classifier features, packed models, exports.
    *breakages(
        "features/classifier.py",
        "features/test_classifier.py",
        (
            "no residual",
            "return x + self.second(self.first(x))",
            "return self.second(self.first(x))",
        ),
        (
            "the last layer is not folded along",
            "    plain.head.load_state_dict(network.head.state_dict())\n",
            "",
        ),
        ("probabilities over the batch", "self.fitted(x)), 1)", "self.fitted(x)), 0)"),
        (
            "nearest pixels",
            'mode="bilinear", align_corners=False, antialias=True',
            'mode="nearest"',
        ),
    ),
    *breakages(
        "features/classifier_training.py",
        "features/test_classifier.py",
        ("the least likely class", "argmax(1)", "argmin(1)"),
        ("labels of other images", "labels[rows].to(place)", "labels[: len(rows)].to(place)"),
        ("always mirrored", "generator=generator) < 0.5", "generator=generator) < 2"),
        ("a rate that stays up", "(1 - progress) / 0.8)", "1.0)"),
    ),
    *breakages(
        "models/packing.py",
        "models/test_packing.py",
        (
            "the change of E in the place of U",
            "before.potential).std()",
            "before.potential).std() * model.config.temperature",
        ),
        (
            "chains rounded beyond their noise",
            "moved < 0.1 * step_size**0.5",
            "moved < 10 * step_size**0.5",
        ),
        ("not the chains that were drawn", "positions[order[:bank]]", "positions[:bank]"),
        ("paths stay", "None if k in paths else v", "v"),
        (
            "infinite weights pass",
            'if not loss["gradient"] <= GRADIENT_LOSS:',
            'if loss["gradient"] > GRADIENT_LOSS:',
        ),
    ),
    *breakages(
        "models/export.py",
        "models/test_export.py",
        ("any difference passes", "TOLERANCE = 1e-4", "TOLERANCE = 10.0"),
        ("one batch size", "BATCHES = (1, 2, 5)", "BATCHES = (2, 2, 2)"),
    ),
    *breakages(
        "data/pictures.py",
        "cli/test_images.py",
        (
            "masks are not cut",
            "Image.Resampling.NEAREST, box=central_part(mask.size, width, height)",
            "0",
        ),
        ("palettes are coloured", '("P", "PA")', "()"),
        (
            "a palette's greens do not count",
            "(red == green).all() and (green == blue).all()",
            "(red == blue).all()",
        ),
        (
            "what does not fit stops the folder",
            "            if path.is_file():\n",
            "            if True:\n",
        ),
    ),
    *breakages(
        "overwriting.py",
        "test_overwriting.py",
        ("former numbers are lost", "file.rename(former(file, number))", "file.unlink()"),
        ("one kept file serves every request", "while any(former(", "while False and any(former("),
        (
            "a killed command does not know its own",
            '{"asked": asked, "unfinished"',
            '{"unfinished"',
        ),
    ),
    *breakages(
        "models/hub.py",
        "models/test_hub.py",
        (
            "what arrives is not checked",
            "    read_packed(paths[MODEL].parent)",
            "    paths[MODEL].parent",
        ),
        (
            "what is sent is not checked",
            "    read_packed(folder)\n    with hub_errors",
            "    with hub_errors",
        ),
    ),
    *breakages(
        "training/augment.py",
        "training/test_augment.py",
        ("mirrors all", "uniform(1, 1, 1) < 0.5, y.flip", "uniform(1, 1, 1) < 1.5, y.flip"),
        ("shifts one way", "device=x.device) - self.shift", "device=x.device)"),
        (
            "shifts rows twice",
            "offsets[:, 0]), (-1, offsets[:, 1])",
            "offsets[:, 0]), (-1, offsets[:, 0])",
        ),
        ("the border comes round", ".clamp(0, size - 1)", ".remainder(size)"),
        ("windows leave the image", "(1 - side[:, None]) * position", "position"),
        (
            "corners aligned",
            "list(x.shape), align_corners=False",
            "list(x.shape), align_corners=True",
        ),
        ("contrast about zero", "y = mean + (1 + contrast) * (y - mean)", "y = (1 + contrast) * y"),
        (
            "saturation about the mean",
            "y = grey + (1 + saturation) * (y - grey)",
            "y = (1 + saturation) * y",
        ),
        ("chance ignored", "torch.where(chosen, y, x)", "y"),
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
        "training/kl_term.py",
        "training/test_kl_term.py",
        ("temperature forgotten", "grad_before / last.temperature", "grad_before"),
        (
            "noise of the step not held fixed",
            "law.mean.detach()) / std.detach()",
            "law.mean) / std",
        ),
        (
            "scale held fixed",
            "x_theta = law.mean + std * noise",
            "x_theta = law.mean + std.detach() * noise",
        ),
        ("pushed to high energy", "pull = (grad", "pull = -(grad"),
        ("energy moves too", "return energy.detach().mean()", "return energy.mean()"),
    ),
    *breakages(
        "models/trained.py",
        "models/test_trained.py",
        ("a quantile stays one", "not has_quantile(sampler) or", "True or"),
        ("a quantile of the whole bank", "bank[: config.batch]", "bank"),
    ),
    *breakages(
        "training/step.py",
        "training/test_kl_term.py",
        ("KL without its weight", "config.kl_weight * kl_term(", "kl_term("),
    ),
    *breakages(
        "samplers/run.py",
        "training/test_kl_term.py",
        (
            "before is after",
            "before = state.x\n            state, info = step(state, generator)",
            "state, info = step(state, generator)\n            before = state.x",
        ),
    ),
    *breakages(
        "training/step.py",
        "training/test_augment.py",
        (
            "fresh noise augmented",
            "x0 = restart(x0, coins < config.restart, state.noise, generator)",
            "x0 = restart(x0, coins < config.restart, state.noise, generator).flip(-1)",
        ),
    ),
    *breakages(
        "training/config.py",
        "training/test_recipe_pieces.py",
        (
            "grows over the whole run",
            "step / (self.growth.share * self.steps)",
            "step / self.steps",
        ),
        ("grows from nothing", "return self.chain_steps + round(", "return round("),
    ),
)


# Running them.


@dataclass(frozen=True)
class Outcome:
    """What pytest said: the first test that failed, and by which exception."""

    code: int | None  # None: out of time
    test: str
    error: str
    seconds: float

    @property
    def caught(self) -> bool:
        return self.code is None or (
            self.code == 1 and bool(self.test) and self.error not in CRASHES
        )

    def words(self) -> str:
        if self.code is None:
            return f"by the time limit  ({self.seconds:.1f} s)"
        if self.caught:
            return f"by {self.test}  ({self.seconds:.1f} s)"
        if self.code == 0:
            return f"all tests passed  ({self.seconds:.1f} s)"
        return f"no test failed, the code broke: {self.test or 'collection'} {self.error}"


def copied(folder: Path) -> Path:
    """The tree that is broken."""
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def run_tests(folder: Path, tests: Sequence[str], limit: float | None = None) -> Outcome:
    started = time.monotonic()
    process = WARM.Process(target=pytest_in, args=(folder, tests), daemon=True)
    process.start()
    process.join(limit)
    seconds = time.monotonic() - started
    if process.exitcode is None:
        process.kill()
        process.join()
        return Outcome(None, "", "", seconds)
    said = (folder / SAID).read_text(encoding="utf-8")
    found = re.search(r"^(?:FAILED|ERROR) \S+?::(.+?)(?: - (\w+).*)?$", said, re.MULTILINE)
    test, error = (found[1], found[2] or "") if found else ("", said[-300:])
    return Outcome(process.exitcode, test, error, seconds)


def pytest_in(folder: Path, tests: Sequence[str]) -> None:
    """pytest in a process of its own, with proof that the copy is what it imports;
    what it says goes to a file.
    """
    os.chdir(folder)
    said = os.open(SAID, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    sys.dont_write_bytecode = True  # its check by size and second would not see every change
    sys.path.insert(0, str(folder / "src"))
    os.environ["PYTHONPATH"] = sys.path[0]
    import pytest

    import stanley

    if stanley.__file__ != str(folder / "src" / "stanley" / "__init__.py"):
        sys.exit(f"the tests would import {stanley.__file__}, not the copy in {folder}")
    options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-m", "not slow"]
    sys.exit(int(pytest.main([*options, *(f"tests/{test}" for test in tests)])))


def run_mutation(folder: Path, mutation: Mutation, limit: float) -> Outcome:
    path = folder / "src" / "stanley" / mutation.file
    clean = path.read_text(encoding="utf-8")
    path.write_text(mutation.applied(clean), encoding="utf-8")
    try:
        return run_tests(folder, mutation.tests, limit)
    finally:
        path.write_text(clean, encoding="utf-8")


def source(mutation: Mutation) -> str:
    return (ROOT / "src" / "stanley" / mutation.file).read_text(encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Break the mathematics, one piece at a time, and see the tests fail."
    )
    parser.add_argument("--only", default="", metavar="SUBSTRING", help="those whose name holds it")
    parser.add_argument("--jobs", type=int, default=1, help="copies broken at the same time")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    asked = parser.parse_args()
    chosen = [m for m in MUTATIONS if asked.only in m.name]
    for mutation in MUTATIONS:
        mutation.applied(source(mutation))
    if asked.list:
        print("\n".join(m.name for m in chosen))
        return 0
    if not chosen or asked.jobs < 1:
        sys.exit(
            f"{len(chosen)} mutations hold {asked.only!r} in their name and jobs is {asked.jobs}:"
            " need one of each"
        )
    os.environ.update(OMP_NUM_THREADS="1", COLUMNS="999")  # lines of pytest's summary whole
    if sys.platform != "win32":
        WARM.set_forkserver_preload(["torch", "scipy.stats", "torch.distributions"])
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor(asked.jobs) as pool:
        folders: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for n in range(asked.jobs):
            folders.put(copied(Path(temporary).resolve() / str(n)))

        def in_a_copy(run, *arguments) -> Outcome:
            folder = folders.get()
            try:
                return run(folder, *arguments)
            finally:
                folders.put(folder)

        files = sorted({test for m in chosen for test in m.tests})
        control = dict(
            zip(files, pool.map(lambda test: in_a_copy(run_tests, [test]), files), strict=True)
        )
        for test, outcome in control.items():
            if outcome.code != 0:
                sys.exit(
                    f"{test} fails on the untouched copy: {outcome.test} {outcome.error}; nothing"
                    " was tried"
                )
        print(
            f"control: {len(files)} test files pass "
            f" ({sum(o.seconds for o in control.values()):.0f} s)",
            flush=True,
        )

        waiting = {}
        for m in chosen:
            limit = max(LEAST_LIMIT, 5 * sum(control[test].seconds for test in m.tests))
            waiting[pool.submit(in_a_copy, run_mutation, m, limit)] = m
        caught = 0
        try:
            for done in as_completed(waiting):
                outcome = done.result()
                caught += outcome.caught
                print(
                    f"{'caught' if outcome.caught else 'MISSED'}  {waiting[done].name} "
                    f" {outcome.words()}",
                    flush=True,
                )
        except BaseException:  # Ctrl-C or a stale mutation: not the other two hundred first
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    print(f"{caught} of {len(chosen)} caught")
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
