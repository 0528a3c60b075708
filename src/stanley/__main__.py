"""The stanley command, and python -m stanley: nothing is imported before Ctrl-C is looked after."""

from __future__ import annotations

import sys


def main() -> None:
    """Run one command; see `stanley.cli`."""
    try:
        from stanley.cli import main as run

        run()
    except KeyboardInterrupt:  # while the first packages are loaded
        print("stanley: interrupted", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
