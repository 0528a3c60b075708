"""Breakages of what keeps and hands on trained energies."""

from __future__ import annotations

from tests.mutations.mutation import Mutation, breakages

MUTATIONS: tuple[Mutation, ...] = (
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
        "models/trained.py",
        "models/test_trained.py",
        ("a quantile stays one", "not has_quantile(sampler) or", "True or"),
        ("a quantile of the whole bank", "bank[: config.batch]", "bank"),
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
)
