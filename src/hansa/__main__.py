"""`python -m hansa`: the command line, where `hansa` is on no path."""

from .cli import main

main()
