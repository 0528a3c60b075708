"""Breakages of comparisons: budgets, tuning, statistics, rows that are used again."""

from __future__ import annotations

from tests.mutations.mutation import Mutation, breakages

MUTATIONS: tuple[Mutation, ...] = (
    *breakages(
        "comparing/statistics.py",
        "comparing/test_statistics.py",
        ("no correction for several arms", "value * (len(known) - k)", "value"),
        ("a correction that decreases", "max(least, min(1.0,", "max(0.0, min(1.0,"),
        (
            "failures are left out of the sign test",
            "x = math.inf if a is None",
            "x = -math.inf if a is None",
        ),
        ("more is better for no score", "!= more_is_better\n", "!= False\n"),
        ("seeds for one arm alone", 'own["sd"] ** 2 + base["sd"] ** 2', 'own["sd"] ** 2'),
        ("two seeds have an interval", "LEAST = 3", "LEAST = 2"),
    ),
    *breakages(
        "comparing/budget.py",
        "comparing/test_comparison.py",
        (
            "values of U are free",
            "traits.gradients + traits.potentials / 2",
            "traits.gradients",
        ),
        (
            "the first gradient is free",
            "config.batch * (start + statistics.fmean",
            "config.batch * (statistics.fmean",
        ),
        ("chains do not grow", "if chains.growth is not None", "if False"),
        ("more gradients than the recipe", "max(1, int((wanted", "max(1, 1 + int((wanted"),
    ),
    *breakages(
        "comparing/comparison.py",
        "comparing/test_comparison.py",
        ("a tuned step size adapts", 'if adapts and "sampler.step_size" in setting:', "if False:"),
        ("times are variances", '{"sampler.step_size": h**0.5}', '{"sampler.step_size": h}'),
        ("values that change nothing", "len(values) == 1 or any(", "True or any("),
        ("tuned on reported seeds", "not self.tuned_fields or not reported & tuning", "True"),
        ("what an arm sets is tuned", "name not in own and has_field", "has_field"),
    ),
    *breakages(
        "comparing/search.py",
        "comparing/test_search.py",
        ("edges of logarithms", 'math.log if values.get("log") else float', "float"),
        ("nothing is near an end", "EDGE = 0.05", "EDGE = 0.0"),
        ("a range may be turned", "and low < high", ""),
    ),
    *breakages(
        "comparing/carry_out.py",
        "comparing/test_carry_out.py",
        ("the worst setting is chosen", "return min(arm.settings", "return max(arm.settings"),
        ("a process may die once", "DEATHS = 2", "DEATHS = 1"),
        ("another question in the same folder", "if other is not None:", "if False:"),
    ),
    *breakages(
        "comparing/task.py",
        "comparing/test_carry_out.py",
        ("all rows are this task's", "same = all(", "same = True or all("),
    ),
)
