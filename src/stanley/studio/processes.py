"""Trainings that were started in the page: each is `python -m stanley train …` in a process of its
own, so that nothing that it does can harm the page, nor the page it.
"""

from __future__ import annotations


class Trainings:
    """The trainings that this studio started."""

    def close(self) -> None: ...
