"""`python -m eigenfolio`: the command line."""

from eigenfolio.cli import main

main()
