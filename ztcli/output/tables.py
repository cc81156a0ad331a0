"""Tables: aligned on a terminal, tab-separated elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ztcli.environment import Environment


def print_table(env: Environment, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a head; nothing is cut off."""
    if not os.isatty(env.stdout):
        for row in (head, *rows):
            env.print("\t".join(row))
        return
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        env.print(line.rstrip())
