"""The page of a comparison: every seed as a dot, the table with its verdicts, what each arm
learned.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from stanley.comparing.panels import median_runs, panels
from stanley.comparing.record import read_record
from stanley.comparing.tables import HEAD, bias_lines, budget_lines, heading, ordered, rows_of
from stanley.comparing.task import RECORD, more_is_better
from stanley.config import OWN, flatten
from stanley.errors import StanleyError, require
from stanley.plots.comparison import LEAST_RATIO, along, along_what, in_words
from stanley.reports.of_comparison import failures_of
from stanley.reports.page import whole
from stanley.runs.directory import RunDirectory
from stanley.studio.computing import Job, answer
from stanley.studio.frames import packed
from stanley.studio.listing import comparison_entry
from stanley.studio.runs import named
from stanley.studio.studio import Studio

POINTS = 1_000  # of an arm's samples
PICTURES = 24
SHOWN = 200  # runs of a comparison that is not finished


def routes(studio: Studio) -> list[BaseRoute]:
    def asked_for(name: str) -> tuple[str, Path]:
        name, path = named(studio, name)
        require((path / RECORD).is_file(), f"{name} is no comparison; choose one in the list")
        return name, path

    async def page(request: Request) -> Response:
        name, _ = asked_for(request.query_params.get("name", ""))
        return studio.page("comparison.html", name=name)

    async def about(request: Request) -> Response:
        name, path = asked_for(request.query_params.get("name", ""))
        with whole(path / RECORD, "run stanley compare again"):
            told = await run_in_threadpool(told_of, path, name)
        if told["entry"]["status"] != "finished":
            told |= so_far(told["entry"], await run_in_threadpool(studio.listing.runs_of, path))
        return JSONResponse(told)

    async def computing(socket: WebSocket) -> None:
        name = socket.query_params.get("name", "")

        def of(fields: dict[str, Any]) -> Any:
            require(fields.get("do") == "panels", "a comparison has panels alone")
            path = asked_for(name)[1]
            return lambda job: tell_panels(job, path, studio.folder)

        await answer(socket, studio.worker, of)

    return [
        Route("/comparison", page),
        Route("/api/comparison", about),
        WebSocketRoute("/ws/comparison", computing),
    ]


def told_of(path: Path, name: str) -> dict[str, Any]:
    """What the page shows of comparison.json; of one that is not finished, how far it is."""
    entry = comparison_entry(path)
    told: dict[str, Any] = {"entry": entry, "changed": (path / RECORD).stat().st_mtime}
    if entry["status"] != "finished":
        return told | {"scores": []}
    result = read_record(path / RECORD)
    names = result["asked"]["scores"]
    first = ordered(result, names[0])
    score, of = along_what(result)
    return told | {
        "arms": first,
        "head": HEAD,
        "scores": [score_told(result, one) for one in names],
        "along": {
            "score": in_words(score),
            "of": of,
            "arms": {arm: along(result, arm) for arm in first},
        },
        "words": [*budget_lines(result), *bias_lines(result)],
        "failures": failures_of(result),
        "runs": {arm: runs_of(result, arm, path, name) for arm in first},
    }


def so_far(entry: dict[str, Any], runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The runs of a comparison that is not finished; it is at work where one of them is."""
    if any(run["status"] == "running" for run in runs):
        entry = entry | {"status": "running"}
    return {"entry": entry, "so_far": runs[:SHOWN], "hidden": len(runs) - len(runs[:SHOWN])}


def score_told(result: dict[str, Any], score: str) -> dict[str, Any]:
    """One score of all arms: its dots, means and intervals, and the rows of its table."""
    found = result["scores"][score]
    values = [v for own in found.values() for v in own["values"].values() if v is not None]
    log = bool(values) and min(values) > 0 and max(values) > LEAST_RATIO * min(values)
    return {
        "name": score,
        "words": in_words(score),
        "heading": heading(result, score),
        "more": more_is_better(score),
        "log": log,
        "arms": {
            arm: {name: own[name] for name in ("values", "mean", "interval", "failed")}
            for arm, own in found.items()
        },
        "rows": dict(zip(ordered(result, score), rows_of(result, score), strict=True)),
    }


def runs_of(result: dict[str, Any], arm: str, path: Path, name: str) -> list[tuple[str, str]]:
    """(seed, run as the studio calls it) of an arm, where its runs are trainings in this folder."""
    found = []
    for run in result["arms"][arm]["runs"]:
        inside = run.get("folder")
        if isinstance(inside, str) and (path / inside / "config.json").is_file():
            found.append((f"seed {run['seed']}", f"{name}/{inside}"))
    return found


def require_ours(result: dict[str, Any], path: Path, folder: Path) -> None:
    """Runs that are looked at lie in the folder, and name no code that would be imported."""
    for arm, _, at in median_runs(result, path):
        require(
            at.resolve().is_relative_to(folder),
            f"the runs of {arm} are not inside {folder}, so that what they learned is not shown",
        )
        if (at / "config.json").is_file():
            config = RunDirectory(at).read_config()
            kinds = {v for name, v in flatten(config).items() if name.endswith("kind")}
            require(
                not kinds & set(OWN),
                f"the runs of {arm} need code of your own, which the page does not import; stanley "
                "compare draws them",
            )


def tell_panels(job: Job, path: Path, folder: Path) -> None:
    """What every arm learned, or drew, at its median seed; beside it the data."""
    result = read_record(path / RECORD)
    require_ours(result, path, folder)
    shown = panels(result, path)
    for panel in shown:
        job.check()
        message: dict[str, Any] = {"kind": "panel", "title": panel["title"], "note": panel["note"]}
        if "images" in panel:
            images = np.asarray(panel["images"])[:PICTURES]
            job.tell(packed(message, images=images.astype(np.uint8)))
            continue
        box = panel["box"]
        sides = [-box, box, -box, box] if isinstance(box, int | float) else list(map(float, box))
        arrays = {}
        if panel.get("density") is not None:
            arrays["density"] = np.asarray(panel["density"], np.float32)
        if panel.get("samples") is not None:
            arrays["samples"] = np.asarray(panel["samples"], np.float32)[:POINTS]
        names = [str(one) for one in panel.get("names", ("x1", "x2"))]
        job.tell(packed(message | {"box": sides, "names": names}, **arrays))
    if not shown:
        raise StanleyError("there are no pictures of these arms: their points are not in the plane")
