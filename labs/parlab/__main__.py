"""`python -m parlab` is `parlab`."""

from parlab.cli import main

main()
