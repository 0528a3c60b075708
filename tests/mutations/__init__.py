"""Deliberate breakages, a file for each room; `python -m tests.mutations` tries them."""

from __future__ import annotations

from tests.mutations import (
    comparing,
    conventions,
    data,
    densities,
    diagnostics,
    features,
    joint,
    levels,
    metrics,
    models,
    plumbing,
    samplers,
    stacks,
    studio,
    training,
    uses,
)
from tests.mutations.mutation import Mutation

MUTATIONS: tuple[Mutation, ...] = (
    *comparing.MUTATIONS,
    *conventions.MUTATIONS,
    *data.MUTATIONS,
    *densities.MUTATIONS,
    *diagnostics.MUTATIONS,
    *features.MUTATIONS,
    *joint.MUTATIONS,
    *levels.MUTATIONS,
    *metrics.MUTATIONS,
    *models.MUTATIONS,
    *plumbing.MUTATIONS,
    *samplers.MUTATIONS,
    *stacks.MUTATIONS,
    *studio.MUTATIONS,
    *training.MUTATIONS,
    *uses.MUTATIONS,
)
