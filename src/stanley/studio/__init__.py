"""A local page in the browser: runs that train, chains that move, comparisons, a playground."""

from stanley.studio.app import application

__all__ = ["application"]
