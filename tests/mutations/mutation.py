"""One deliberate breakage, and many of one file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Mutation:
    """One breakage: `old` occurs exactly once in the file, and `tests` must fail where `new` stands
    instead.
    """

    name: str
    file: str  # in src/stanley
    old: str
    new: str
    tests: tuple[str, ...]  # in tests

    def applied(self, text: str) -> str:
        """The broken text; stops where the mutation no longer fits the file."""
        found = text.count(self.old)
        if found != 1 or self.old == self.new:
            sys.exit(
                f"stale mutation {self.name!r}: {self.old!r} occurs {found} times in {self.file},"
                " must be once"
            )
        return text.replace(self.old, self.new)


def breakages(file: str, tests: str, *changes: tuple[str, str, str]) -> Iterator[Mutation]:
    """(what is wrong, old, new) in one file, to be caught by the same test files."""
    for what, old, new in changes:
        yield Mutation(f"{Path(file).stem}: {what}", file, old, new, tuple(tests.split()))


def source(mutation: Mutation) -> str:
    return (ROOT / "src" / "stanley" / mutation.file).read_text(encoding="utf-8")
