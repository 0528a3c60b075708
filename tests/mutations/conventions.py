"""Breakages of the conventions and of what every room stands on."""

from __future__ import annotations

from tests.mutations.mutation import Mutation, breakages

MUTATIONS: tuple[Mutation, ...] = (
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
        ("held-out rows by another rule", "manual_seed(start)\n", "manual_seed(seed_of(seed))\n"),
        (
            "seeds of which 32 bits count",
            'seed if 0 <= seed < 2**32 else seed_of(seed, "data")',
            "seed",
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
        "overwriting.py",
        "test_overwriting.py",
        ("former numbers are lost", "file.rename(other)", "file.unlink()"),
        ("one kept file serves every request", "while any(former(", "while False and any(former("),
        (
            "a killed command does not know its own",
            '{"asked": asked, "unfinished"',
            '{"unfinished"',
        ),
    ),
)
