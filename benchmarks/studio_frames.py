"""How many frames a second the playground shows, with one, two and three panels of chains.

    python -m benchmarks.studio_frames --repeats 5

Headless Chromium and the server share the machine. Each frame is one step of all samplers, sent as
it is and drawn; the page asks for the next once it has drawn the one before. A repeat opens the
page anew, waits until it moves, and counts for some seconds; panels take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.browsing import Server, headless, studio

LANGEVIN = {"kind": "langevin", "step_size": 0.06}
STANLEY = {"kind": "stanley", "step_size": 0.06, "threshold": 2.0}
ADJUSTED = {"kind": "adjusted", "proposal": STANLEY}
PANELS = ([STANLEY], [LANGEVIN, STANLEY], [LANGEVIN, STANLEY, ADJUSTED])
FRAMES = "[Number(document.querySelector('#panels').dataset.frames), performance.now()]"


def rate(
    browser: Any, server: Server, samplers: list[Any], chains: int, seed: int, seconds: float
) -> float:
    """Frames a second of a page that is opened for it."""
    asked = {"density": "rings", "samplers": samplers, "chains": chains, "start": "noise"}
    asked |= {"width": 1.0, "point": [0, 0], "coordinates": [0, 1], "seed": seed}
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(server.address)
    page.goto(server.at(f"/playground#{quote(json.dumps(asked))}"))
    page.wait_for_selector("#panels[data-frames]")
    page.wait_for_timeout(1500)
    if (shown := page.locator(".sampler").count()) != len(samplers):
        raise SystemExit(f"the page shows {shown} samplers, but {len(samplers)} were asked for")
    first, began = page.evaluate(FRAMES)
    page.wait_for_timeout(1000 * seconds)
    last, ended = page.evaluate(FRAMES)
    context.close()
    return 1000 * (last - first) / (ended - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--chains", type=int, default=4096, help="chains of each panel")
    parser.add_argument("--repeats", type=int, default=5, help="times that each is measured")
    parser.add_argument("--seconds", type=float, default=5.0, help="of one measurement")
    arguments = parser.parse_args()
    rates: list[list[float]] = [[] for _ in PANELS]
    with (
        tempfile.TemporaryDirectory(prefix="studio-frames-") as folder,
        studio(Path(folder)) as server,
        headless() as browser,
    ):
        for seed in range(arguments.repeats):
            for samplers, found in zip(PANELS, rates, strict=True):
                found.append(
                    rate(browser, server, samplers, arguments.chains, seed, arguments.seconds)
                )
    for samplers, found in zip(PANELS, rates, strict=True):
        print(
            f"{len(samplers)} × {arguments.chains:,} chains: {statistics.median(found):.0f} frames "
            f"a second (median of {len(found)}, {min(found):.0f} to {max(found):.0f})"
        )
    print(f"load of the machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
