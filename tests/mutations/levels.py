"""Breakages of energies that know noise levels: ladder, loss, networks, warm start."""

from __future__ import annotations

from tests.mutations.mutation import Mutation, breakages

MUTATIONS: tuple[Mutation, ...] = (
    *breakages(
        "samplers/annealed.py",
        "samplers/test_annealed.py",
        ("half a step down", "x - (sigma**2 - lower**2) *", "x - (sigma**2 - lower**2) / 2 *"),
        ("noise of the upper level", "noise = lower * math", "noise = sigma * math"),
        ("noise without its share", "math.sqrt(1 - lower**2 / sigma**2)", "1.0"),
        (
            "gradient of the lower level",
            "step_down(potential_at(sigma)",
            "step_down(potential_at(lower)",
        ),
        (
            "levels even in σ",
            "top + k / (num - 1) * (bottom - top)) ** power",
            "top**power + k / (num - 1) * (bottom**power - top**power))",
        ),
    ),
    *breakages(
        "metrics/level_likelihood.py",
        "metrics/test_level_likelihood.py",
        (
            "the gradient of the level below",
            "v * gradient(at(sigma), x)\n        below",
            "v * gradient(at(lower), x)\n        below",
        ),
        ("noise up of the level alone", "x + v**0.5 * normal_like", "x + sigma * normal_like"),
        ("the way up forgotten", "(down - up) / 2", "down / 2"),
        ("normalisers forgotten", " + d * math.log(spread / v**0.5)", ""),
        (
            "reference forgotten",
            "log_w = log_w + in_chunks(reference, x, CHUNK).double()",
            "log_w = log_w",
        ),
        ("variance of a single point", "v * (1 - v * float(", "v * (0 * v * float("),
        ("reverse as forward", "summary(-log_w, None, sign=-1)", "summary(log_w, None, sign=1)"),
    ),
    *breakages(
        "training/objectives/denoising.py",
        "training/test_denoising.py",
        ("noise not in units of σ", "(sigma * grad - xi)", "(grad - xi)"),
        ("sign of the noise", "(sigma * grad - xi)", "(sigma * grad + xi)"),
        ("weights of one level", "((1 + ratio**2) * error / d)", "(error / d)"),
        ("sign of the slope", "(slope - (d - xi", "(slope + (d - xi"),
        (
            "slope without d",
            "(slope - (d - xi.flatten(1).square().sum(1)))",
            "(slope + xi.flatten(1).square().sum(1))",
        ),
    ),
    *breakages(
        "training/objectives/without_chains.py",
        "training/test_denoising.py",
        ("levels not cut off", "low + (high - low) * u", "u"),
        ("the mean of the levels", "(mean + std * z)", "(std * z)"),
    ),
    *breakages(
        "training/objectives/flow_matching.py",
        "training/test_flow_matching.py",
        ("the worst pairs", "products, maximize=True", "products"),
        ("pairs from the other side", "maximize=True)[1]", "maximize=True)[0]"),
        ("V without its factor", "return factor(self.energy, log_ratio) * self", "return self"),
        ("no floor of the factor", " + energy.floor**2).sqrt()", ").sqrt()"),
        ("points without noise", "y = (x + sigma.view", "y = (x + 0 * sigma.view"),
        ("sign of the velocity", "(velocity - zeta)", "(velocity + zeta)"),
    ),
    *breakages(
        "samplers/transport.py",
        "training/test_flow_matching.py",
        ("Euler's rule", "h / 2 * (here + there)", "h * here"),
        (
            "the gradient of one level",
            "potential_at(lower), x -",
            "potential_at(sigma), x -",
        ),
        ("uphill", "x = x - h / 2", "x = x + h / 2"),
    ),
    *breakages(
        "networks/levels.py",
        "networks/test_levels.py",
        ("no constant", "d / 2 * math.log(2 * math.pi) + d * self.std.log()", "0.0 * self.std"),
        ("no volume of a level", "+ d / 2 * (1 + square).log()", ""),
        ("mean forgotten", "u = (x - self.mean) / self.std", "u = x / self.std"),
        (
            "the largest level alone",
            "math.log(self.levels.smallest))",
            "math.log(self.levels.largest))",
        ),
    ),
    *breakages(
        "networks/level_mlp.py",
        "networks/test_levels.py",
        ("sines not damped", "size * phase.sin()", "phase.sin()"),
        (
            "damped too little",
            "self.frequencies.square().sum(1) / 2",
            "self.frequencies.square().sum(1) / 4",
        ),
    ),
    *breakages(
        "training/objectives/warm_start.py",
        "training/test_objectives.py",
        (
            "no second warm-up",
            "self.rate * min(1.0, (since + 1) / max(1, config.warmup))",
            "self.rate",
        ),
        ("the rate ignored", "return self.rate * min(", "return min("),
        ("bank filled in every step", "if state.step == begin:", "if state.step >= begin:"),
        ("bank of the first noise", "            fill_bank(config, state)", "            pass"),
    ),
    *breakages(
        "models/trained.py",
        "training/test_objectives.py",
        ("no ladder", 'if start == "noise" and self.levels is not None:', "if False:"),
        ("noise from the top", "ladder(std, levels.sigma_min)", "ladder(levels.sigma_max, std)"),
    ),
    *breakages(
        "uses/inpainting.py",
        "uses/test_potentials.py",
        ("known values without noise", "known + sigma * normal_like(known, rng)", "known"),
        ("corrections of twice the drift", "lower**2 / 2 * grad", "lower**2 * grad"),
    ),
)
