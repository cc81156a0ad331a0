"""State directories with an identity that is known: making one takes seconds."""

from __future__ import annotations

from pathlib import Path

from ztstack.aio.storage import Storage
from ztstack.crypto.identity import Identity


def keep_identity(folder: Path, identity: Identity) -> None:
    """Make a state directory with this identity."""
    storage = Storage(folder)
    storage.open()
    try:
        storage.save_identity(identity)
    finally:
        storage.close()
