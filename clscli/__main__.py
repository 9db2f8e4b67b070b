"""`python -m clscli` is `clscli`."""

from clscli.cli import main

main()
