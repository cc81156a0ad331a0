"""The zt command: chooses an engine, runs one command, returns an exit code."""

from __future__ import annotations
