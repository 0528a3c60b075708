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
        ("a tuned step size adapts", 'if "sampler.step_size" in setting:', "if False:"),
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
        "comparing/arm.py",
        "comparing/test_carry_out.py",
        ("the worst setting is chosen", "return min(arm.settings", "return max(arm.settings"),
    ),
    *breakages(
        "comparing/carry_out.py",
        "comparing/test_carry_out.py",
        ("a process may die once", "DEATHS = 2", "DEATHS = 1"),
        ("another question in the same folder", "if other is not None:", "if False:"),
    ),
    *breakages(
        "comparing/task.py",
        "comparing/test_carry_out.py",
        ("all rows are this task's", "same = all(", "same = True or all("),
    ),
    *breakages(
        "comparing/moments.py",
        "comparing/test_sampled.py",
        (
            "an error that is not squared",
            "((mean - self.mean) ** 2 / self",
            "((mean - self.mean) / self",
        ),
        ("the funnel by its own coordinates", "(-v / 2).exp()", "(0 * v).exp()"),
        ("the mean of all coordinates", "self.variance).max())", "self.variance).mean())"),
    ),
    *breakages(
        "comparing/sampling.py",
        "comparing/test_sampled.py",
        (
            "all steps are averaged",
            "mean = total if before is None else",
            "mean = total / t if t else",
        ),
        (
            "values of U are free",
            "chains.gradients += gradients + potentials / 2",
            "chains.gradients += gradients",
        ),
        (
            "small for once is enough",
            "first = above[-1] + 1 if above",
            "first = above[0] + 1 if above",
        ),
        ("chains that are lost are kept", "            if lost:\n", "            if False:\n"),
        ("the generator begins again", "        self.generator.set_state(", "        bool("),
        (
            "sums are forgotten",
            '        self.total, self.draws = found.tensors["total"],',
            '        self.total, self.draws = 0 * found.tensors["total"],',
        ),
    ),
    *breakages(
        "comparing/sampled.py",
        "comparing/test_sampled.py",
        ("nothing is biased", "return not is_adjusted(sampler_of(config))", "return False"),
        ("the start costs nothing", "int((base.steps - start) / step)", "int(base.steps / step)"),
        ("any reference will do", "        found.converged,\n", "        True,\n"),
        (
            "arms are asked different questions",
            "                name is None,\n",
            "                True,\n",
        ),
    ),
    *breakages(
        "comparing/tables.py",
        "test_results.py",
        ("the worst seed is the best", "else max)(known", "else min)(known"),
        (
            "no setting was chosen",
            'if setting == about["setting_name"] else cell',
            "if False else cell",
        ),
    ),
    *breakages(
        "comparing/trained.py",
        "comparing/test_carry_out.py",
        ("a flow has a density", 'return config.objective.kind != "flow-matching"', "return True"),
        ("every run has a bank", 'name != "bank" or', "True or"),
        ("arms have one recipe", 'str(changes.get("recipe", self.recipe))', "self.recipe"),
    ),
    *breakages(
        "comparing/record.py",
        "test_results.py",
        ("an unfinished record is complete", 'not plain.get("unfinished")', "True"),
    ),
)
