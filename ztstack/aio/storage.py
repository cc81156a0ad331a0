"""The state directory: identity, planet, network configurations and known peers."""

from __future__ import annotations

import logging
import os
import re
import stat
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Final

from ztstack.aio.machine import fingerprint
from ztstack.base.address import Address
from ztstack.base.errors import IdentityError, InvalidConfig, StateInUse, StorageError
from ztstack.base.network_id import NetworkId
from ztstack.crypto.identity import Identity

_FILE_LIMIT: Final = 1 << 20
_PEERS_LIMIT: Final = 16_384
_PEER_LIFE_S: Final = 30 * 24 * 3600
_MOONS_LIMIT: Final = 64
_PORT_FILE: Final = "zerotier-one.port"
_MOON_FILE: Final = re.compile(r"([0-9a-f]{16})\.moon")
# Files of this folder that are replaced: what a killed writer leaves is their name and a suffix.
_OWN_FILES: Final = (
    "identity.public",
    "identity.secret",
    "identity.checked",
    "machine.fp",
    "planet",
    _PORT_FILE,
)
_log = logging.getLogger("ztstack")


def write_atomically(path: Path, data: bytes, mode: int = 0o600, *, sync: bool = True) -> None:
    """Replace a file so that a kill at any moment leaves the old or the new content.

    Without `sync` that holds for a killed process, and not for a machine that loses its power.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            if sync:
                os.fsync(stream.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_identity(path: Path, *, insecure: bool = False) -> Identity:
    """Read an `identity.secret` file; IdentityError says what is wrong with it."""
    try:
        status = path.stat()
        text = path.read_bytes()[:1024].decode("ascii")
    except OSError as error:
        raise IdentityError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise IdentityError(f"{path}: is not an identity file") from None
    if not insecure and os.name == "posix" and stat.S_IMODE(status.st_mode) & 0o077:
        raise IdentityError(f"{path}: can be read by others; run: chmod 600 {path}")
    try:
        identity = Identity.parse(text)
    except InvalidConfig as error:
        raise IdentityError(f"{path}: {error}") from None
    if not identity.has_private:
        raise IdentityError(f"{path}: has no private key")
    identity.check_keys()
    return identity


class Storage:
    """One state directory, held by one process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: IO[bytes] | None = None
        # What peers.d holds, so that only changes are written.
        self._peers: dict[str, bytes] = {}

    def open(self) -> None:
        """Create the folder if need be and take its lock; StateInUse names the holder."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in ("networks.d", "peers.d"):
                (self.folder / name).mkdir(mode=0o700, exist_ok=True)
            lock = (self.folder / "lock").open("a+b")
        except OSError as error:
            raise StorageError(f"{self.folder}: {error.strerror}") from error
        if not _try_lock(lock):
            lock.seek(0)
            holder = lock.read(32).decode("ascii", "replace").strip() or "another process"
            lock.close()
            raise StateInUse(f"{self.folder}: in use by pid {holder}")
        lock.seek(0)
        lock.truncate()
        lock.write(f"{os.getpid()}\n".encode())
        lock.flush()
        self._lock = lock
        for name in _OWN_FILES:
            for left_over in self.folder.glob(f".{name}.*"):
                left_over.unlink(missing_ok=True)

    def close(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def load_identity(self, *, insecure: bool = False) -> Identity | None:
        """Return the identity kept here, or None if there is none yet."""
        path = self.folder / "identity.secret"
        if not path.exists():
            return None
        identity = read_identity(path, insecure=insecure)
        checked = self.folder / "identity.checked"
        mark = identity.key_hash.hex()
        if not checked.exists() or checked.read_text("ascii", "replace") != mark:
            # The memory-hard check takes a fifth of a second: once for each identity is enough.
            try:
                identity.validate()
            except IdentityError as error:
                raise IdentityError(f"{path}: {error}") from None
            write_atomically(checked, mark.encode())
        self.check_machine()
        return identity

    def save_identity(self, identity: Identity) -> None:
        write_atomically(
            self.folder / "identity.public", identity.public_text().encode(), mode=0o644
        )
        write_atomically(self.folder / "identity.checked", identity.key_hash.hex().encode())
        write_atomically(self.folder / "identity.secret", identity.secret_text().encode())
        (self.folder / "machine.fp").unlink(missing_ok=True)
        self.check_machine()

    def check_machine(self) -> None:
        """Warn if the identity was made on another machine: two with one disturb each other."""
        own, path = fingerprint(), self.folder / "machine.fp"
        kept = self._read(path)
        if kept is None and own:
            write_atomically(path, own)
        elif own and kept != own:
            _log.warning(
                "%s comes from another machine, and two nodes with one identity disturb each"
                " other: make a new one (zt identity new --force), or if it was moved, remove %s",
                *(self.folder, path),
            )

    def load_planet(self) -> bytes | None:
        """Return the world file, named `planet` or, as the alias has it, `roots`."""
        for name in ("planet", "roots"):
            data = self._read(self.folder / name)
            if data is not None:
                return data
        return None

    def save_planet(self, data: bytes) -> None:
        if self._read(self.folder / "planet") != data:
            write_atomically(self.folder / "planet", data, mode=0o644)

    def moons(self) -> list[tuple[int, bytes]]:
        """Return the ids, as the files are named, and the contents of the moons kept here."""
        found = []
        for path in sorted((self.folder / "moons.d").glob("*.moon"))[:_MOONS_LIMIT]:
            name = _MOON_FILE.fullmatch(path.name)
            data = self._read(path) if name is not None else None
            if name is not None and data is not None:
                found.append((int(name[1], 16), data))
        return found

    def save_moon(self, moon_id: int, data: bytes) -> None:
        path = self.folder / "moons.d" / f"{moon_id:016x}.moon"
        if self._read(path) != data:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_atomically(path, data, mode=0o644)

    def remove_moon(self, moon_id: int) -> bool:
        """Forget a moon; False if none was kept under that id."""
        try:
            (self.folder / "moons.d" / f"{moon_id:016x}.moon").unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError(f"{self.folder}: {error.strerror}") from error
        return True

    def load_port(self) -> int:
        """Return the UDP port of the last run, 0 if there is none."""
        text = (self._read(self.folder / _PORT_FILE) or b"").decode("ascii", "replace").strip()
        port = int(text) if text.isascii() and text.isdigit() else 0
        return port if port <= 0xFFFF else 0

    def save_port(self, port: int) -> None:
        if self.load_port() != port:
            write_atomically(self.folder / _PORT_FILE, str(port).encode(), mode=0o644)

    def load_network(self, network: NetworkId) -> bytes | None:
        return self._read(self.folder / "networks.d" / f"{network}.conf")

    def save_network(self, network: NetworkId, data: bytes) -> None:
        write_atomically(self.folder / "networks.d" / f"{network}.conf", data)

    def forget_network(self, network: NetworkId) -> None:
        """End a membership: its configuration goes, and the settings that the owner gave it."""
        for suffix in ("conf", "local.conf"):
            path = self.folder / "networks.d" / f"{network}.{suffix}"
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise StorageError(f"{path}: {error.strerror}") from error

    def networks(self) -> list[NetworkId]:
        """Return the networks that have a file here."""
        found = []
        for path in sorted((self.folder / "networks.d").glob("*.conf")):
            try:
                found.append(NetworkId.parse(path.stem))
            except InvalidConfig:
                continue
        return found

    def load_peers(self) -> list[bytes]:
        """Return the records of known peers; files that nobody renewed for 30 days go."""
        oldest = time.time() - _PEER_LIFE_S
        found = []
        for path in sorted((self.folder / "peers.d").glob("*.peer"))[:_PEERS_LIMIT]:
            try:
                if path.stat().st_mtime < oldest:
                    path.unlink()
                    continue
            except OSError:
                continue
            data = self._read(path)
            if data:
                found.append(data)
                self._peers[path.name] = data
        return found

    def save_peers(self, records: dict[Address, bytes]) -> None:
        """Write the records that changed; they are a cache, so nobody waits for the disk."""
        folder = self.folder / "peers.d"
        for address, record in list(records.items())[:_PEERS_LIMIT]:
            name = f"{address}.peer"
            if self._peers.get(name) != record:
                write_atomically(folder / name, record, sync=False)
                self._peers[name] = record

    def _read(self, path: Path) -> bytes | None:
        try:
            with path.open("rb") as stream:
                return stream.read(_FILE_LIMIT)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from error


if sys.platform == "win32":
    import msvcrt

    def _try_lock(stream: IO[bytes]) -> bool:
        try:
            # A byte far behind the text, so that others can still read the holder's pid.
            stream.seek(4096)
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(stream: IO[bytes]) -> bool:
        try:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
