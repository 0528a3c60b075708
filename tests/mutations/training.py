"""Breakages of training: bank, losses, steps."""

from __future__ import annotations

from tests.mutations.mutation import Mutation, breakages

MUTATIONS: tuple[Mutation, ...] = (
    *breakages(
        "training/tracking.py",
        "training/test_tracking.py",
        ("steps are told twice", "purge_step=step + 1 if step else None", "purge_step=None"),
        ("one that fails is told again", "del self.trackers[name]", "pass"),
        ("samples are z", "state.standardisation.undo(x)", "x"),
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
        "training/objectives/contrastive.py",
        "training/test_kl_term.py",
        ("KL without its weight", "objective.kl_weight * kl_term(", "kl_term("),
    ),
    *breakages(
        "training/objectives/contrastive.py",
        "training/test_augment.py",
        (
            "fresh noise augmented",
            "return slots, restart(x0, coins < objective.restart, state.noise, generator)",
            "return slots, restart(x0, coins < objective.restart, state.noise, generator).flip(-1)",
        ),
    ),
    *breakages(
        "training/loop.py",
        "training/test_own_parts.py",
        (
            "left early and not saved",
            "                opened.save()\n                raise\n",
            "                raise\n",
        ),
        ("own network not looked at", "probe(config, parts.energy, points)", "pass"),
        ("averages of a loop of one's own", "self.config.ema, state.step)", "0.0, state.step)"),
    ),
    *breakages(
        "training/state.py",
        "training/test_own_parts.py",
        (
            "noise of the rows read last",
            "self.noise = StartNoise(mean, std",
            "_ = StartNoise(mean, std",
        ),
    ),
    *breakages(
        "training/frozen.py",
        "training/test_own_parts.py",
        ("frozen weights trained", "if p.requires_grad]", "]"),
    ),
    *breakages(
        "networks/given.py",
        "training/test_own_parts.py",
        ("rows may depend on each other", "            same,\n", "            True,\n"),
        ("fingerprint without shapes", "str(t.dtype), list(t.shape))", "str(t.dtype))"),
        ("random numbers allowed", "        not drew,\n", "        True,\n"),
        ("the user's module is changed", "return copy.deepcopy(own)", "return own"),
    ),
    *breakages(
        "data/given.py",
        "training/test_own_parts.py",
        ("the first rows are lost", "self.waiting.append(rows)", "pass"),
        ("the row of NaN is that after the split", "int(order[first + at])", "first + at"),
        (
            "other values are the same data",
            "digest.update(part.contiguous()",
            "bytes(part.contiguous()",
        ),
    ),
    *breakages(
        "training/objectives/contrastive.py",
        "training/test_recipe_pieces.py",
        (
            "grows over the whole run",
            "step / (self.growth.share * steps)",
            "step / steps",
        ),
        ("grows from nothing", "return self.chain_steps + round(", "return round("),
    ),
)
