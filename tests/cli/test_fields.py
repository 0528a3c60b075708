"""Flags and files that change parts of a configuration which are made of others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from stanley.cli.config_file import read_config_file
from stanley.config import to_dict
from stanley.training.fields import apply
from stanley.training.objectives import Denoising, WarmStart
from stanley.training.recipes import recipe
from stanley.training.resolve import resolve


def test_a_warm_start_takes_over_the_objective_before_it() -> None:
    """And its parts can be changed at once, and taken out of it again."""
    flags = {"objective": "warm-start", "network": "level-mlp", "objective.share": 0.2}
    flags |= {"objective.contrastive.bank_size": 512, "objective.denoising.level_mean": -2.0}
    rings = recipe("rings")
    warm = resolve("rings", {}, flags).objective
    assert isinstance(warm, WarmStart)
    assert warm == WarmStart(
        share=0.2,
        denoising=Denoising(level_mean=-2.0),
        contrastive=replace(rings.objective, bank_size=512),
    )
    back = to_dict(resolve("rings", {}, flags))
    apply(back, {"objective": "contrastive"})
    assert back["objective"] == to_dict(warm.contrastive)


def test_denoising_of_a_file(tmp_path: Path) -> None:
    """The same as flags, as a user would write it down."""
    file = tmp_path / "mine.yaml"
    file.write_text(
        "network: {kind: level-mlp, width: 16}\n"
        "objective: {kind: warm-start, denoising: {kind: denoising, level_std: 2}}\n"
    )
    config = resolve("rings", read_config_file(file), {})
    assert isinstance(config.objective, WarmStart)
    assert config.objective.denoising.level_std == 2
    assert config.objective.contrastive.chain_steps == 10
