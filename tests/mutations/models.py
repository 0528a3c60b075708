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
        "models/units.py",
        "models/test_standardised.py",
        (
            "no change of variables",
            "(self.energy(z.to(weight.dtype)) + self.shift)",
            "self.energy(z.to(weight.dtype))",
        ),
        (
            "the change of variables at T = 1",
            "temperature * standardisation.log_scale",
            "standardisation.log_scale",
        ),
    ),
    *breakages(
        "models/trained.py",
        "models/test_standardised.py",
        ("samples stay z", "x=model.original(chains.x)", "x=chains.x"),
        ("U stays that of z", "chains.info.potential + model.log_scale", "chains.info.potential"),
        (
            "steps of z in the data's units",
            "Preconditioned(on_z.sampler, std)",
            "Preconditioned(on_z.sampler, std**0)",
        ),
    ),
    *breakages(
        "judging/evaluate.py",
        "models/test_standardised.py",
        ("an NLL of z", 'exact["log_z"]) + model.log_scale', 'exact["log_z"])'),
        ("energies of z", "energy_of(model, x) + shift", "energy_of(model, x)"),
        ("a density of z", "area = math.exp(model.log_scale)", "area = 1.0"),
    ),
    *breakages(
        "judging/likelihood.py",
        "models/test_standardised.py",
        ("bounds of z", "float(u.mean()) + model.log_scale", "float(u.mean())"),
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
