"""Which machine this is, so that a copied state directory is noticed."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import Final

_PLACES: Final = ("/etc/machine-id", "/var/lib/dbus/machine-id")


def fingerprint() -> bytes:
    """Return what is the same on this machine alone, and tells nobody its id; empty if unknown."""
    for place in _PLACES:
        with contextlib.suppress(OSError):
            found = Path(place).read_bytes()[:64].strip()
            if found:
                return hashlib.sha256(b"zt machine " + found).hexdigest()[:32].encode()
    return b""
