"""`python -m truenorth`, and `torchrun ... -m truenorth`."""

from .cli import main

main()
