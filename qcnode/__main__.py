"""`python -m qcnode` is the command `qcnode`."""

from qcnode.cli import main

main()
