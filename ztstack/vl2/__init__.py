"""Virtual networks: who is in, what may pass, where a frame goes."""

from __future__ import annotations
