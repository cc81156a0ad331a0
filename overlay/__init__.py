"""The legacy engine: managed nodes talk over memory or plain UDP, unencrypted."""

from __future__ import annotations
