"""The vocabulary that every layer shares: addresses, codecs, limits, errors; no I/O, no clock."""

from __future__ import annotations
