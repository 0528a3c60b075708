"""Whether the built site's search finds a page by a word: `search.py HTML WORD:PAGE …`.

It reads the index that the pages load, in which words stand by their stems.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from sphinx.search.en import SearchEnglish


def pages_with(word: str, root: Path) -> list[str]:
    """The pages whose text or title has the word, in any of its forms."""
    text = (root / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    stem = SearchEnglish({}).stem(word.lower())
    found: set[int] = set()
    for terms in (index["terms"], index["titleterms"]):
        pages = terms.get(stem, [])
        found |= {pages} if isinstance(pages, int) else set(pages)  # one page is not a list
    return sorted(index["docnames"][page] for page in found)


if __name__ == "__main__":
    html = Path(sys.argv[1])
    asked = [pair.split(":") for pair in sys.argv[2:]]
    lost = [f"{word} finds no {page}" for word, page in asked if page not in pages_with(word, html)]
    sys.exit("\n".join(["the search of the site:", *lost]) if lost else 0)
