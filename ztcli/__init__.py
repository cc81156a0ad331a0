"""The zt command: chooses an engine, runs one command, returns an exit code."""

from __future__ import annotations

__version__ = "0.1.0"
