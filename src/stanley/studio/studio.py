"""What all pages of a studio share: the folder it shows, its token, and how a page is made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse

from stanley import __version__
from stanley.errors import require
from stanley.reports.page import templates
from stanley.studio.computing import Worker
from stanley.studio.listing import Listing
from stanley.studio.processes import Trainings

if TYPE_CHECKING:
    from stanley.studio.stage import Stage

#: Names by which this machine calls itself.
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True)
class Studio:
    """One studio on one folder.

    folder      resolved; nothing outside it is read or written, but the cache by trainings
    token       whoever has it may do all that the pages can do
    hosts       names that a request may call this machine by, without a port; None: any
    trainings   those that were started here
    worker      carries out one computation at a time, beside the pages
    listing     what the folder holds
    target      a density that was named where the studio was started
    """

    folder: Path
    token: str
    hosts: tuple[str, ...] | None
    trainings: Trainings
    worker: Worker
    listing: Listing
    target: Stage | None = None

    def inside(self, name: str) -> Path:
        """The path of this name in the folder, its links followed; raises StanleyError where that
        is outside the folder.
        """
        require(name and "\0" not in name, f"{name!r} is no name; give one inside the folder")
        path = (self.folder / name).resolve()
        require(
            path != self.folder and path.is_relative_to(self.folder),
            f"{name} is not inside {self.folder}; the studio shows that folder alone",
        )
        return path

    def page(self, template: str, status: int = 200, **facts: Any) -> HTMLResponse:
        """A page of `templates/`, in which every fact is escaped as HTML wants it."""
        page = templates("stanley.studio").get_template(template)
        text = page.render(folder=str(self.folder), version=__version__, **facts)
        return HTMLResponse(text, status)
