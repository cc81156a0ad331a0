"""What people and machines read."""

from __future__ import annotations
