"""Messages between addresses: peers, paths, keys, roots."""

from __future__ import annotations
