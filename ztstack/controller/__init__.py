"""The role of a private network controller."""

from __future__ import annotations
