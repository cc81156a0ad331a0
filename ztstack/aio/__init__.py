"""The shell around the node: clock, chance, UDP, files, start and stop."""

from __future__ import annotations
