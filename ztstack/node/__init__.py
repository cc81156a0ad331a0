"""The only place where the layers meet; still without I/O."""

from __future__ import annotations
