"""The list of deliberate breakages fits the code as it stands; `make mutations` runs them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutations import MUTATIONS
from tests.mutations.mutation import Mutation, source
from tests.mutations.run import Outcome

TESTS = Path(__file__).parent


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_a_mutation_changes_its_file_in_one_place(mutation: Mutation) -> None:
    text = source(mutation)
    assert text.count(mutation.old) == 1
    broken = mutation.applied(text)
    assert broken != text
    compile(broken, mutation.file, "exec")
    assert mutation.tests
    assert all((TESTS / test).is_file() for test in mutation.tests)


def test_names_are_distinct() -> None:
    assert len({m.name for m in MUTATIONS}) == len(MUTATIONS)


def test_a_stale_mutation_is_named() -> None:
    stale = Mutation(
        "gone", "samplers/langevin.py", "no such text", "", ("samplers/test_langevin.py",)
    )
    with pytest.raises(
        SystemExit, match=r"stale mutation 'gone'.* occurs 0 times in samplers/langevin\.py"
    ):
        stale.applied(source(stale))


@pytest.mark.parametrize(
    ("code", "test", "error", "caught"),
    [
        (1, "test_law[a]", "AssertionError", True),
        (1, "test_law[a]", "stanley", True),  # a StanleyError: the exception's module comes first
        (None, "", "", True),  # out of time
        (0, "", "", False),  # nothing noticed
        (1, "test_law[a]", "NameError", False),  # broken code, not broken mathematics
        (1, "", "SyntaxError in a module", False),
        (2, "", "interrupted", False),
    ],
)
def test_only_a_test_that_fails_catches(
    code: int | None, test: str, error: str, caught: bool
) -> None:
    assert Outcome(code, test, error, 1.0).caught == caught
