"""TCP in the words of RFC 9293; arrival and departure share the control block."""

from __future__ import annotations
