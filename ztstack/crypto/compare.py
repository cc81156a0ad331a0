"""Comparison of secrets in constant time."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Final

equal: Final[Callable[[bytes, bytes], bool]] = hmac.compare_digest
"""Tell whether two byte strings are equal, in a time that depends on their lengths only.

It is the function of the standard library itself, since it is called for every packet.
"""
