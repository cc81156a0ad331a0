"""Every primitive the protocol needs, and the identity built on them."""

from __future__ import annotations
