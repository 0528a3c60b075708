"""Does the memory of the studio stay what it is, while it trains and is looked at?

    python -m benchmarks.studio_soak 30 --out runs/studio_soak.csv

Starts `stanley studio` on an empty folder, and in headless Chromium a training of `rings` by the
form of its page, the page of that run in one tab and the playground with 1,024 chains in another.
Each minute there is a row: MiB of the server and of the training (resident), of all processes of
the browser (what is not shared), of the scripts of both pages, and the steps of training and
playground, which say that all of it went on. Linux only: it reads /proc.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.browsing import Server, headless, studio

MEMORIES = ("server", "training", "browser", "run page", "playground")
COLUMNS = ("minute", *MEMORIES, "training step", "playground step")
Row = dict[str, float]


def mib(pid: int, kind: str = "VmRSS") -> float:
    """Memory of a process in MiB, 0 once it has ended."""
    try:
        found = re.search(rf"{kind}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return 0.0 if found is None else int(found[1]) / 1024


def descendants(pid: int) -> Iterator[tuple[int, str]]:
    """All processes below this one, with their command lines."""
    for place in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in place.read_text().split()]
        except OSError:
            continue
        for child in children:
            try:
                words = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            yield child, words
            yield from descendants(child)


def watched_training(page: Any, server: Server) -> int:
    """Starts a training by the form, which is open where there is no run; goes to its page, and
    gives its process.
    """
    page.goto(server.address)
    page.get_by_label("Recipe").select_option("rings")
    page.get_by_label("Name of the run").fill("soak")
    page.get_by_label("Steps", exact=True).fill("10000000")
    page.get_by_label("Other fields").fill("save_every=500 batch=64")
    page.get_by_role("button", name="Start").click()
    page.locator(".status.running").first.wait_for()
    page.goto(server.at("/run?name=soak"))
    page.wait_for_selector("#curves figure .main-svg")
    return next(pid for pid, words in descendants(server.process.pid) if " train " in words)


def played(page: Any, server: Server) -> None:
    page.goto(server.at("/playground"))
    page.wait_for_selector(".sampler canvas")
    page.get_by_label("Chains", exact=True).fill("1024")
    page.get_by_label("Chains", exact=True).press("Enter")


def measured(server: Server, training: int, run: Any, playground: Any) -> Row:
    used = "performance.memory.usedJSHeapSize / 1048576"
    step = re.search(r"step ([\d,]+)", run.locator("#facts").inner_text())
    steps = playground.evaluate("Number(document.querySelector('#panels').dataset.step ?? 0)")
    pids = [pid for pid, words in descendants(os.getpid()) if "chrom" in words.partition(" ")[0]]
    return {
        "server": mib(server.process.pid),
        "training": mib(training),
        "browser": sum(mib(pid, "RssAnon") for pid in pids),
        "run page": run.evaluate(used),
        "playground": playground.evaluate(used),
        "training step": 0 if step is None else int(step[1].replace(",", "")),
        "playground step": steps,
    }


def minutely(minutes: float, measure: Any, rest: Any) -> Iterator[Row]:
    """A row now, then one each minute; `rest` takes milliseconds."""
    began = time.monotonic()
    minute = 0.0
    while True:
        yield {"minute": minute} | measure()
        if minute >= minutes:
            return
        minute = min(minute + 1, minutes)
        while (left := began + 60 * minute - time.monotonic()) > 0:
            rest(1000 * min(left, 1))


def summary(rows: list[Row]) -> str:
    """Each memory at first, after five minutes where there were so many, at last, and at most."""
    fifth = next((row for row in rows if row["minute"] == 5), None)
    lines = [f"{'MiB':>12} {'first':>8} {'5 min':>8} {'last':>8} {'max':>8}"]
    for name in MEMORIES:
        values = [row[name] for row in rows]
        at_five = "" if fifth is None else f"{fifth[name]:.0f}"
        lines.append(
            f"{name:>12} {values[0]:8.0f} {at_five:>8} {values[-1]:8.0f} {max(values):8.0f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("minutes", type=float, help="how long, such as 30")
    parser.add_argument("--out", type=Path, help="keep the rows in this CSV file")
    arguments = parser.parse_args()
    faults: list[str] = []
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory(prefix="studio-soak-") as folder,
        studio(Path(folder)) as server,
        headless("--enable-precise-memory-info") as browser,
    ):
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        run, playground = context.new_page(), context.new_page()
        for page in (run, playground):
            page.set_default_timeout(120_000)
            page.on("pageerror", lambda error: faults.append(str(error)))
        training = watched_training(run, server)
        played(playground, server)
        run.wait_for_timeout(5000)

        def measure() -> Row:
            return measured(server, training, run, playground)

        for row in minutely(arguments.minutes, measure, run.wait_for_timeout):
            rows.append(row)
            print(", ".join(f"{name} {round(row[name], 1):g}" for name in COLUMNS), flush=True)
            if arguments.out is not None:
                kept(rows, arguments.out)
    print(summary(rows))
    if faults:
        raise SystemExit(f"scripts of the pages failed: {faults}")
    if rows[-1]["training"] == 0:
        raise SystemExit("the training ended before")


def kept(rows: list[Row], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows({name: round(value, 1) for name, value in row.items()} for row in rows)


if __name__ == "__main__":
    main()
