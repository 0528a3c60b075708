"""The main job: tune every arm, train it on the reported seeds, and say what came of it."""

from __future__ import annotations

import os
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stanley.comparing.arm import Arm, best_setting, mean_score
from stanley.comparing.comparison import (
    Comparison,
    folder_name,
    next_value,
    setting_name,
)
from stanley.comparing.result import summary
from stanley.comparing.search import Search, installed
from stanley.comparing.subject import Changes, Config
from stanley.comparing.task import RECORD, Row, Task, more_is_better, row_of
from stanley.comparing.workers import Running, Workers, workers_on
from stanley.config import differences, to_dict
from stanley.errors import StanleyError, in_one_line, require
from stanley.files import make_folder, write_json
from stanley.overwriting import json_object
from stanley.progress import Bar
from stanley.runs.directory import RunDirectory

TIMED = "timed.json"  # arm -> iterations, where seconds are equal
#: What may change of a comparison that has begun: the runs that are there are used again.
MAY_CHANGE = ("seeds", "baseline", "scores", "num", "arms", "tuning_seeds")
MAY_CHANGE += ("grid", "search", "trials", "by")
EXTENSIONS = 4  # values that are added to a grid at most
LOOK = 0.1  # seconds between two looks at what is running
MOST_BESIDE = 10  # runs of one arm that a worker trains side by side
DEATHS = 2  # of the process of one task, after which it is given up


def compare(
    comparison: Comparison,
    out: str | os.PathLike[str],
    *,
    workers: int = 1,
    on: str = "local",
    extend: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Carry out a comparison in the folder `out`, or go on with the one that is there; returns what
    is written to `out`/comparison.json.

    Each run is a run directory out/runs/ARM/SETTING/seed-N, with its row in compared.json; a run
    that was stopped goes on from its checkpoint. Scores do not depend on the number of workers, nor
    on where they are; a resumed comparison has those of the unbroken one, bit for bit on a CPU. Not
    true of the seconds.

    workers   runs at the same time, of one thread each
    on        where they run: local processes, dask, dask:tcp://HOST:PORT, slurm, submitit-local
    extend    where the best value of the grid is its first or last, try one more there for all,
              up to four more values of a field; a search has ranges, which its question widens

    A run that diverges is a result. One whose process dies twice is reported and left out, and the
    same call tries it again. Raises StanleyError for arms that cannot be trained, and for a folder
    that holds another comparison.
    """
    folder = Path(out)
    require(
        not (extend and comparison.search),
        "extend is for a grid, and this comparison searches ranges; widen them instead",
    )
    if comparison.search:
        installed()
    comparison.check()
    comparison = with_scores(comparison)
    require_same(folder, comparison)
    steps = planned_steps(folder, comparison)
    lost: list[str] = []
    note_request(folder, comparison)
    comparison.subject.prepare(comparison.base(), comparison.scores, folder)
    if steps:  # only now, so that a folder with timings is known for one of a comparison
        write_json(folder / TIMED, steps)
    with workers_on(on, workers, folder) as pool:
        job = Job(comparison, folder, steps, pool, progress, lost)
        arms = job.tuned()
        while extend and (wider := wider_grid(job.comparison, arms, comparison)) is not None:
            job.comparison = wider
            note_request(folder, wider)
            arms = job.tuned()
        job.report(arms)
    result = summary(job.comparison, arms, folder, lost)
    write_json(folder / RECORD, result)
    return result


@dataclass
class Job:
    """The runs of a comparison, handed to workers and collected."""

    comparison: Comparison
    folder: Path
    steps: dict[str, int]
    pool: Workers
    progress: bool
    lost: list[str]

    def tuned(self) -> list[Arm]:
        """Every arm with the best of its settings, all of the grid or those of a search."""
        comparison = self.comparison
        if comparison.search:
            arms = self.searched()
        else:
            arms = [Arm(name, comparison.settings(name)) for name in comparison.arms]
            self.try_settings("tuning", [arm for arm in arms if len(arm.settings) > 1])
        for arm in arms:
            arm.chosen = best_setting(comparison, arm)
        return arms

    def searched(self) -> list[Arm]:
        """Every arm with the trials of its search, a batch of all arms at a time. They are asked
        for from the first one on, also where their rows are there.
        """
        comparison, more = self.comparison, more_is_better(self.comparison.scores[0])
        seed, by = comparison.first_tuning_seed, comparison.by
        spaces = {name: comparison.space(name) for name in comparison.arms}
        arms = {n: Arm(n, [] if space else [{}]) for n, space in spaces.items()}
        searches = {n: Search(s, by, seed, more_is_better=more) for n, s in spaces.items() if s}
        made = 0
        for count in comparison.batches():
            asked = {name: search.ask(count) for name, search in searches.items()}
            for name, settings in asked.items():
                arms[name].settings += [s for s in settings if s not in arms[name].settings]
            title = f"trials {made + 1} to {made + count} of {comparison.trials} an arm"
            self.try_settings(title, [arms[name] for name in searches])
            for name, settings in asked.items():
                rows = [arms[name].tuning[setting_name(setting)] for setting in settings]
                searches[name].tell([mean_score(comparison, found) for found in rows])
            made += count
        return list(arms.values())

    def try_settings(self, title: str, arms: list[Arm]) -> None:
        """Train every setting of some arms that has not been tried on the tuning seeds."""
        seeds = self.comparison.for_tuning
        new = [(a, s) for a in arms for s in a.settings if setting_name(s) not in a.tuning]
        wanted = {
            (arm.name, setting_name(setting), seed): self.task(arm.name, setting, seed)
            for arm, setting in new
            for seed in seeds
        }
        rows = self.carried_out(title, wanted)
        for arm, setting in new:
            name = setting_name(setting)
            arm.tuning[name] = [rows.get((arm.name, name, seed)) for seed in seeds]

    def report(self, arms: list[Arm]) -> None:
        """Train every arm on the reported seeds."""
        wanted = {
            (arm.name, seed): self.task(arm.name, arm.chosen or {}, seed, along=True)
            for seed in self.comparison.reported
            for arm in arms
        }
        rows = self.carried_out("comparing", wanted)
        for arm in arms:
            arm.runs = {seed: row for (name, seed), row in rows.items() if name == arm.name}
            config, subject = self.config(arm.name, arm.chosen or {}), self.comparison.subject
            arm.share, arm.biased = subject.share(config), subject.biased(config)

    def config(self, arm: str, setting: Changes) -> Config:
        """The configuration of an arm with one setting of the grid and its share of the budget."""
        config = self.comparison.config(arm, setting)
        return self.comparison.on_budget(arm, config, self.steps.get(arm, 0))

    def task(self, arm: str, setting: Changes, seed: int, *, along: bool = False) -> Task:
        comparison, subject = self.comparison, self.comparison.subject
        config = subject.of_a_run(self.config(arm, setting), seed, comparison.along)
        arms = self.folder.absolute() / "runs"  # workers may have begun elsewhere
        folder = arms / folder_name(arm) / setting_name(setting) / f"seed-{seed}"
        scores = tuple(comparison.scores if along else comparison.scores[:1])
        gradients = subject.share(config).gradients
        return Task(str(folder), to_dict(config), scores, along, gradients, comparison.num)

    def carried_out(self, title: str, wanted: dict[Any, Task]) -> dict[Any, Row]:
        """The rows of all tasks that could be carried out; those that are there are read."""
        rows = {key: row for key, task in wanted.items() if (row := row_of(task)) is not None}
        waiting = [keys for keys in self.side_by_side(wanted) if not rows.keys() >= set(keys)]
        running: list[tuple[list[Any], Running]] = []
        deaths: dict[Any, int] = {}
        steps = {key: task.config["steps"] for key, task in wanted.items()}
        ended_steps = sum(steps[key] for key in rows)
        with Bar(title, sum(steps.values()), ended_steps, enabled=self.progress) as bar:
            while waiting or running:
                while waiting and len(running) < self.pool.at_once:
                    keys = waiting.pop(0)
                    plain = [wanted[key].plain() for key in keys]
                    work = self.comparison.subject.carry_out
                    running.append((keys, self.pool.submit(work, plain)))
                ended = [one for one in running if one[1].done()]
                running = [one for one in running if one not in ended]
                for keys, future in ended:
                    try:
                        rows |= dict(zip(keys, future.result(), strict=True))
                    except StanleyError:
                        raise
                    except Exception as error:  # the process died, or its machine
                        deaths[keys[0]] = deaths.get(keys[0], 0) + 1
                        if deaths[keys[0]] < DEATHS:
                            waiting.append(keys)
                        elif len(keys) > 1:  # one of them may be at fault: each by itself
                            waiting += [[key] for key in keys]
                            deaths |= dict.fromkeys(keys, 0)
                        else:
                            why = in_one_line(error)
                            self.lost.append(f"{wanted[keys[0]].folder}: died twice ({why})")
                made = sum(steps[key] for key in rows)
                if bar.due(made):
                    at_work = [wanted[key] for keys, _ in running for key in keys]
                    made += sum(RunDirectory(task.folder).last_step() for task in at_work)
                    failed = sum(row["failure"] is not None for row in rows.values())
                    counts = (len(rows), len(wanted), len(at_work), failed, len(self.lost))
                    bar.draw(made, in_progress(*counts))
                time.sleep(LOOK if running else 0)
        return rows

    def side_by_side(self, wanted: dict[Any, Task]) -> list[list[Any]]:
        """The tasks that are handed to a worker together, of one arm each. How many does not depend
        on the workers, since a run in a stack equals the run alone up to rounding only.
        """
        if not (self.comparison.stacks and self.comparison.subject.stackable):
            return [[key] for key in wanted]
        arms: dict[str, list[Any]] = {}
        for key in wanted:
            arms.setdefault(key[0], []).append(key)
        return [
            keys[k : k + MOST_BESIDE]
            for keys in arms.values()
            for k in range(0, len(keys), MOST_BESIDE)
        ]


def in_progress(done: int, wanted: int, at_work: int, failed: int, lost: int) -> str:
    counts = {"in work": at_work, "failed": failed, "lost": lost}
    words = [f"{count} {what}" for what, count in counts.items() if count]
    return ", ".join([f"{done} of {wanted} runs done", *words])


def with_scores(comparison: Comparison) -> Comparison:
    """With the usual scores where none are named."""
    if comparison.scores:
        return comparison
    usual = comparison.subject.usual_scores(comparison.config(comparison.against))
    return replace(comparison, scores=list(usual))


def require_same(folder: Path, comparison: Comparison) -> None:
    """Refuse a folder that holds a comparison of something else, or other files."""
    make_folder(folder)
    before = json_object(folder / RECORD).get("asked")
    if before is None:
        others = sorted(p.name for p in folder.iterdir() if p.name != RECORD)
        require(
            not others,
            f"{folder} holds other files ({', '.join(others[:3])}) and no {RECORD}; choose an "
            "empty or a new --out",
        )
        return
    changed = differences(before, to_dict(comparison))
    other = next((n for n in changed if n.split(".")[0] not in MAY_CHANGE), None)
    if other is not None:
        old, new = changed[other]
        raise StanleyError(
            f"{folder} holds a comparison whose {other} is {old!r}, now {new!r}; choose another "
            "--out, or give the old value"
        )


def note_request(folder: Path, comparison: Comparison) -> None:
    """Write down what is asked and how many runs that takes, beside what is known already."""
    there = json_object(folder / RECORD)
    now = {"asked": to_dict(comparison), "unfinished": True, "planned": comparison.planned_runs()}
    write_json(folder / RECORD, there | now)


def planned_steps(folder: Path, comparison: Comparison) -> dict[str, int]:
    """The iterations of every arm where seconds are equal: those that were timed before, and new
    ones."""
    if comparison.budget != "seconds":
        return {}
    assert comparison.seconds is not None
    known: dict[str, int] = json_object(folder / TIMED)
    new = [arm for arm in comparison.arms if arm not in known]
    subject, seconds = comparison.subject, comparison.seconds
    return known | {arm: subject.steps_in(seconds, comparison.config(arm)) for arm in new}


def wider_grid(comparison: Comparison, arms: list[Arm], asked: Comparison) -> Comparison | None:
    """With one more value at an end of the grid that won, or None where there is none to add."""
    for arm in arms:
        found = comparison.edges(arm.chosen or {}) if arm.tuned(comparison) else ()
        for name, below in found:
            if len(comparison.grid[name]) - len(asked.grid[name]) == EXTENSIONS:
                continue
            value = next_value(comparison.grid[name], below=below)
            wider = comparison.extended(name, value, below=below)
            try:
                wider.check()
            except StanleyError as error:
                warnings.warn(f"{name} is not extended to {value:g}: {error}", stacklevel=3)
                continue
            return wider
    return None
