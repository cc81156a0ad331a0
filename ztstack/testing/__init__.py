"""Labs for tests: a root, a controller and nodes in one process, on a network as bad as wanted."""

from __future__ import annotations
