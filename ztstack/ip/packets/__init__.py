"""Internet bytes and their meaning."""

from __future__ import annotations
