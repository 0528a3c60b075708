"""What training descends: one file for each objective."""

from __future__ import annotations

from stanley.training.objectives.contrastive import Contrastive

#: What a configuration can name.
AnyObjective = Contrastive

__all__ = ["AnyObjective", "Contrastive"]
