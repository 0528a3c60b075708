"""python -m stanley, the same as the stanley command."""

from stanley.cli import main

main()
