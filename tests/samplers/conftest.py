"""A class with `cases` runs each of its tests that asks for `sampler` once per case."""

from __future__ import annotations


def pytest_generate_tests(metafunc):
    cases = getattr(metafunc.cls, "cases", None)
    if cases and "sampler" in metafunc.fixturenames:
        metafunc.parametrize("sampler", list(cases.values()), ids=list(cases))
