"""ZeroTier bytes and their meaning, one file a verb or structure; no state."""

from __future__ import annotations
