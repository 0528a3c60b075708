"""How objects show themselves: in a line where they are printed, as a table in a notebook."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping


def in_a_line(name: str, told: Mapping[str, object]) -> str:
    """`RunDirectory(path runs/rings, step 3,000 of 3,000)`."""
    return f"{name}({', '.join(f'{key} {value}' for key, value in told.items())})"


def in_html(title: str, told: Mapping[str, object]) -> str:
    """A table of two columns, with whatever may be in a name made harmless."""
    rows = "".join(
        f"<tr><th>{html.escape(str(key))}</th><td>{html.escape(str(value))}</td></tr>"
        for key, value in told.items()
    )
    return f"<table><caption>{html.escape(title)}</caption><tbody>{rows}</tbody></table>"


def sentences_in_html(sentences: Iterable[str]) -> str:
    return "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences)
