"""A network in a box: deterministic, seeded, in virtual time."""

from __future__ import annotations
