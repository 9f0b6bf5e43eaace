"""``python -m recsae`` is the same as ``recsae``."""

from recsae.cli import main

main()
