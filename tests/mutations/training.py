"""Breakages of training: bank, losses, steps."""

from __future__ import annotations

from tests.mutations.mutation import Mutation, breakages

MUTATIONS: tuple[Mutation, ...] = (
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
        "training/step.py",
        "training/test_kl_term.py",
        ("KL without its weight", "objective.kl_weight * kl_term(", "kl_term("),
    ),
    *breakages(
        "training/step.py",
        "training/test_augment.py",
        (
            "fresh noise augmented",
            "x0 = restart(x0, coins < objective.restart, state.noise, generator)",
            "x0 = restart(x0, coins < objective.restart, state.noise, generator).flip(-1)",
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
