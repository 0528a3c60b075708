"""Commands in any order on one folder, with accidents in between: nothing that was made is lost,
nothing is stuck.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from .damage import chosen, damaged
from .sandbox import SEED, SMALL, Ended, call, count, faults, images, keep

#: What no command was ever told of.
STRANGE = {
    "run/notes.txt": b"mine",
    "answers/notes.txt": b"mine too",
    "run/samples/notes.txt": b"and mine",
}


class Commands(RuleBasedStateMachine):
    """A run, pictures, and a folder of answers; every command is repeated as it is, and with other
    requests.
    """

    def __init__(self) -> None:
        super().__init__()
        self.temporary = tempfile.mkdtemp(prefix="fuzz-")
        self.folder = Path(self.temporary).resolve() / "box"
        self.asked: list[list[str]] = []
        self.damaged = False

    @initialize()
    def begin(self) -> None:
        shutil.copytree(images(), self.folder)
        for name, content in STRANGE.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(content)

    def run(self, *arguments: str, must: bool = True) -> Ended:
        """The command; where nothing was damaged it is carried out, however often it was asked
        before.
        """
        count()
        self.asked.append(list(arguments))
        end = call(arguments, self.folder, self.folder / "foreign")
        found = faults(end, arguments)
        if must and not self.damaged and end.code != 0:
            found.append(f"refused: {end.err}")
        if found:
            keep(arguments, self.folder, {}, None, found)
        return end

    @rule(steps=st.sampled_from(("2", "3", "4")))
    def train(self, steps: str) -> None:
        self.run(
            "train",
            "array-contrastive",
            "--out",
            "run",
            "--steps",
            steps,
            *SMALL,
            "--data.path",
            "images.npy",
        )

    @rule(
        num=st.sampled_from(("1", "2")),
        seed=st.sampled_from(("0", "1")),
        steps=st.sampled_from(("1", "2")),
    )
    def sample(self, num: str, seed: str, steps: str) -> None:
        self.run(
            "sample",
            "run",
            "--num",
            num,
            "--steps",
            steps,
            "--seed",
            seed,
            "--out",
            "answers",
            "--json",
        )

    @rule(
        num=st.sampled_from(("1", "2")),
        mask=st.sampled_from(("left-half", "0,0,4,4")),
        k=st.integers(0, 2),
        paste=st.sampled_from(([], ["--paste-back"])),
    )
    def inpaint(self, num: str, mask: str, k: int, paste: list[str]) -> None:
        words = (
            "inpaint",
            "run",
            f"pictures/{k}.png",
            "--mask",
            mask,
            "--num",
            num,
            "--steps",
            "1",
            *paste,
        )
        self.run(*words, "--out", "answers")

    @rule(noise=st.sampled_from(("0.3", "0.5")), steps=st.sampled_from(("1", "2")))
    def denoise(self, noise: str, steps: str) -> None:
        self.run(
            "denoise",
            "run",
            "pictures/0.png",
            "--noise",
            noise,
            "--num",
            "1",
            "--steps",
            steps,
            "--out",
            "answers",
        )

    @rule(points=st.sampled_from(("3", "4")))
    def interpolate(self, points: str) -> None:
        words = (
            "interpolate",
            "run",
            "pictures/0.png",
            "pictures/1.png",
            "--points",
            points,
            "--steps",
            "1",
        )
        self.run(*words, "--out", "answers")

    @rule(weights=st.sampled_from(("1,1", "1,0.5")))
    def compose(self, weights: str) -> None:
        words = (
            "compose",
            "run",
            "packed",
            "--weights",
            weights,
            "--num",
            "2",
            "--steps",
            "1",
            "--warm-up",
            "1",
        )
        self.run(*words, "--out", "answers")

    @rule(against=st.sampled_from(([], ["--against", "pictures"])))
    def ood(self, against: list[str]) -> None:
        self.run("ood", "run", "pictures", "--out", "answers/a.csv", *against)

    @rule(num=st.sampled_from(("4", "5")))
    def evaluate(self, num: str) -> None:
        self.run("evaluate", "run", "--num", num, "--steps", "1")

    @rule(bank=st.sampled_from(("2", "4")))
    def pack(self, bank: str) -> None:
        self.run("pack", "run", "--out", "again", "--bank", bank)

    @precondition(lambda self: self.folder.exists())
    @rule(data=st.data())
    def accident(self, data: st.DataObject) -> None:
        """A file that a command wrote is damaged."""
        written = [p for p in sorted(self.folder.rglob("*")) if p.is_file() and p.suffix != ".txt"]
        path = data.draw(st.sampled_from(written))
        path.write_bytes(data.draw(damaged(path.read_bytes())))
        self.damaged = True

    @invariant()
    def strangers_are_left_alone(self) -> None:
        if self.folder.exists():
            for name, content in STRANGE.items():
                assert (self.folder / name).read_bytes() == content, (
                    f"{name} after {self.asked[-1]}"
                )

    @invariant()
    def nothing_half_made_is_left(self) -> None:
        left = [
            p.name for p in self.folder.rglob("*") if p.name.startswith(".") and p.suffix == ".tmp"
        ]
        assert not left, f"{left} after {self.asked[-1:]}"

    def teardown(self) -> None:
        shutil.rmtree(self.temporary, ignore_errors=True)


def test_commands_in_any_order() -> None:
    run_state_machine_as_test(
        hypothesis.seed(SEED)(Commands), settings=chosen(6, stateful_step_count=8)
    )
