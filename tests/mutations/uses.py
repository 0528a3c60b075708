"""Breakages of the uses of an energy."""

from __future__ import annotations

from tests.mutations.mutation import Mutation, breakages

MUTATIONS: tuple[Mutation, ...] = (
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
        ("a profile without its mean", "parts = (energies - mean)", "parts = energies"),
        ("a profile without correlations", "(parts.square() / spectrum[varies])", "parts.square()"),
        ("levels that say nothing new", "spectrum > 1e-9 * spectrum[-1]", "spectrum > -1.0"),
        ("inside by its own measure", "own = inside is held_out", "own = True"),
    ),
)
