"""Whether every link within the built site leads somewhere: `python docs/extensions/links.py HTML`.

It reads the pages as they are served, so that what a template, a docstring or a notebook adds is
seen as well. Addresses of other sites are not asked.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page links to or loads, and the places in it that others may link to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = {"", "top"}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value is not None:
                self.links.append(value)
            elif name in ("id", "name") and value:
                self.places.add(value)


def broken(root: Path) -> list[str]:
    """'PAGE: LINK' for every link that leads to no file, or to no place in its page."""
    root = root.resolve()
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(root.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        for link in dict.fromkeys(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            lost = not target.is_relative_to(root) or not target.exists()
            if lost or (target in pages and unquote(parts.fragment) not in pages[target].places):
                found.append(f"{path.relative_to(root)}: {link}")
    return found


if __name__ == "__main__":
    html = Path(sys.argv[1])
    lost = broken(html)
    sys.exit("\n".join(["links that lead nowhere:", *lost]) if lost else 0)
