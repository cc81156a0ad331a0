"""`python -m ztcli`, and the `zt` script."""

from __future__ import annotations

from ztcli.app import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
