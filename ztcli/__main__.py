"""`python -m ztcli`, and the `zt` script."""

from __future__ import annotations

import os
import sys

from ztcli import __version__

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process; what is asked most loads nothing."""
    if sys.argv[1:] == ["--version"]:
        try:
            os.write(1, f"zt {__version__}\n".encode())
        except OSError:
            # How that ends is what the whole program knows.
            pass
        else:
            return
    from ztcli.app import main as run

    run()


if __name__ == "__main__":
    main()
