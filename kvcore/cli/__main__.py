"""`python -m kvcore.cli` is `kvctl`."""

from kvcore.cli import main

main()
