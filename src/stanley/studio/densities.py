"""The densities that can be watched: those of the library, the runs of the folder, and the one that
was named where the studio was started.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from stanley.errors import did_you_mean, require
from stanley.runs import checkpoint
from stanley.runs.directory import RunDirectory
from stanley.studio.stage import Stage, of_density, of_run
from stanley.studio.studio import Studio
from stanley.targets.named import ABOUT

KEPT = 4  # stages, the last used; one may hold 60 MB of draws
PICTURES = ("mnist", "cifar10", "flowers102", "folder")  # data whose coordinates are pixels
GROUPS = ("densities of the library", "your own", "runs of this folder")


class Densities:
    """What a studio can show, and the stages that were made last."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.made: OrderedDict[Any, Stage] = OrderedDict()
        self.lock = threading.Lock()

    def on_offer(self) -> list[dict[str, str]]:
        """The name of each, a line about it, and its group."""
        library, own, runs = GROUPS
        found = [{"name": n, "about": about, "group": library} for n, about in ABOUT.items()]
        if self.studio.target is not None:
            name = self.studio.target.name
            found.append({"name": name, "about": "named by --target", "group": own})
        entries, _ = self.studio.listing.entries()
        for entry in entries:
            if entry["kind"] == "run" and entry.get("checkpoint") and entry["data"] not in PICTURES:
                about = f"the energy of this run, at step {entry['checkpoint']:,}"
                # ./rings is the run of that name, rings the density
                found.append({"name": f"./{entry['name']}", "about": about, "group": runs})
        return found

    def stage(self, name: str) -> Stage:
        """The stage of a density on offer.

        Nothing is imported but what the command line named. Raises StanleyError for another name,
        and for a run that cannot be loaded.
        """
        if self.studio.target is not None and name == self.studio.target.name:
            return self.studio.target
        if name in ABOUT:
            return self.kept(name, lambda: of_density(name))
        require(
            ":" not in name,
            f"{name} is code, which is imported only where you name it: stanley studio --target "
            f"{name}",
        )
        path = self.studio.inside(name)
        require(
            (path / "config.json").is_file(),
            f"unknown density {name!r}: {did_you_mean(name, ABOUT)}; or a run of the folder",
        )
        steps = checkpoint.steps_of(RunDirectory(path).checkpoints)
        return self.kept((name, *steps), lambda: of_run(path, name))

    def kept(self, key: Any, make: Callable[[], Stage]) -> Stage:
        with self.lock:  # two pages that ask for the same wait for one
            if key not in self.made:
                self.made[key] = make()
            self.made.move_to_end(key)
            while len(self.made) > KEPT:
                self.made.popitem(last=False)
            return self.made[key]
