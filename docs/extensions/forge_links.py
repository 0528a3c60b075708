"""Links that lead out of docs/, as a forge follows them, lead to pages on the site as well.

A Python file that a page links to becomes a page under files/, written anew in each build. The
changelog and the README have pages already. Other files, such as records of comparisons, are
downloads, which is what MyST makes of them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

LINK = re.compile(r"(?<=\]\()((?:\.\./)+[^)#\s]+)")
PAGES = {Path("CHANGELOG.md"): "/changelog.md", Path("README.md"): "/index.md"}


def page_of(app: Sphinx, page: Path, link: str) -> str | None:
    """Where on the site the file of the repository is that this link of a page leads to."""
    path = Path(os.path.normpath(page.parent / link))
    if not path.is_file() or path.is_relative_to(app.srcdir):
        return None
    path = path.relative_to(app.srcdir.parent)
    return f"/files/{path.as_posix()}" if path.suffix == ".py" else PAGES.get(path)


def write_pages(app: Sphinx) -> None:
    for page in sorted(app.srcdir.rglob("*.md")):
        if "_build" in page.parts:
            continue
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            place = page_of(app, page, link)
            if place and place.endswith(".py"):
                write_listing(app, place.removeprefix("/files/"))


def write_listing(app: Sphinx, path: str) -> None:
    page = app.srcdir / "files" / f"{path}.rst"
    page.parent.mkdir(parents=True, exist_ok=True)
    there = os.path.relpath(app.srcdir.parent / path, page.parent)
    text = f":orphan:\n\n{path}\n{'=' * len(path)}\n\n.. literalinclude:: {there}\n"
    if not page.exists() or page.read_text() != text:  # else it would be read again
        page.write_text(text)


def lead_to_pages(app: Sphinx, name: str, source: list[str]) -> None:
    page = Path(app.env.doc2path(name))
    if page.suffix == ".md":
        source[0] = LINK.sub(lambda link: page_of(app, page, link[1]) or link[1], source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write_pages)
    app.connect("source-read", lead_to_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
