"""The role of a private root."""

from __future__ import annotations
