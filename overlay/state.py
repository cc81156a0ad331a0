"""What the overlay keeps in a state directory, each file replaced at once and whole.

`overlay.node` holds the node id, `networks.d/<nwid>.overlay` stands for a joined network, and
`peers.d/<nwid>` has a line for each peer: node id, IP address, port, seconds since 1970. The
directory may be that of a managed node, whose files have other names.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from overlay.book import parse_network, parse_node
from overlay.errors import IdentityError, InvalidConfig, StorageError
from overlay.messages import Place, node_text
from overlay.udp import peer_place
from ztstack.aio.storage import Storage, write_atomically

MAX_LINES: Final = 1024
MAX_NETWORKS: Final = 256
_LIFE_S: Final = 30 * 24 * 3600
_FILE_LIMIT: Final = 1 << 20


def fresh_node() -> int:
    """Return a random node id; 0 and those that begin with ff are reserved."""
    while True:
        node = int.from_bytes(secrets.token_bytes(5), "big")
        if node and node >> 32 != 0xFF:
            return node


def kept_networks(folder: Path) -> list[int]:
    """Return the networks that the node of a state directory has joined, in order."""
    found = []
    for path in sorted((folder / "networks.d").glob("*.overlay"))[:MAX_NETWORKS]:
        with contextlib.suppress(ValueError):
            found.append(parse_network(path.stem))
    return found


def forget_network(folder: Path, network: int) -> bool:
    """End a membership; False if there was none, StateInUse while a node runs here."""
    if not _network_file(folder, network).exists():
        return False
    state = State(folder)
    state.open()
    try:
        state.remove_network(network)
    finally:
        state.close()
    return True


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Raise what the system refuses as StorageError, which names the file."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error


def _network_file(folder: Path, network: int) -> Path:
    return folder / "networks.d" / f"{network:016x}.overlay"


def _peers_file(folder: Path, network: int) -> Path:
    return folder / "peers.d" / f"{network:016x}"


class State:
    """One state directory, held by one process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._storage = Storage(folder)
        self._kept: dict[int, dict[int, tuple[Place, int]]] = {}
        self._written: dict[int, dict[int, Place]] = {}

    def open(self) -> None:
        """Take the directory; StateInUse names the process that has it."""
        self._storage.open()
        # What a killed writer leaves is the file's name between a dot and a suffix.
        for left_over in (
            *self._folder.glob(".overlay.node.*"),
            *self._folder.glob("networks.d/.*.overlay.*"),
            *self._folder.glob("peers.d/.*"),
        ):
            with contextlib.suppress(OSError):
                left_over.unlink()

    def close(self) -> None:
        self._storage.close()

    def load_node(self) -> int:
        """Return the node id kept here; the first time it is made."""
        path = self._folder / "overlay.node"
        text = self._read(path)
        if text is None:
            node = fresh_node()
            with _told(path):
                write_atomically(path, node_text(node).encode() + b"\n")
            return node
        try:
            return parse_node(text.strip())
        except InvalidConfig as error:
            raise IdentityError(f"{path}: {error}") from None

    # Networks.

    def networks(self) -> list[int]:
        return kept_networks(self._folder)

    def add_network(self, network: int) -> None:
        path = _network_file(self._folder, network)
        if not path.exists():
            with _told(path):
                write_atomically(path, b"")

    def remove_network(self, network: int) -> None:
        for path in (_network_file(self._folder, network), _peers_file(self._folder, network)):
            with _told(path):
                path.unlink(missing_ok=True)
        self._kept.pop(network, None)
        self._written.pop(network, None)

    # Peers.

    def load_peers(self, network: int) -> list[tuple[int, Place]]:
        """Return the peers of a network; lines that are none are passed over."""
        text = self._read(_peers_file(self._folder, network)) or ""
        found: dict[int, tuple[Place, int]] = {}
        oldest = time.time() - _LIFE_S
        for line in text.splitlines()[:MAX_LINES]:
            try:
                node, host, port, seen = line.split()
                place = peer_place((host, int(port)))
                if int(seen) > oldest:
                    found[parse_node(node)] = place, int(seen)
            except ValueError:
                continue
        self._kept[network] = found
        return [(node, place) for node, (place, _) in found.items()]

    def save_peers(self, network: int, peers: Iterable[tuple[int, Place]]) -> None:
        """Write where peers are now, and where those were that are silent today.

        Nothing is written if these are the peers and the places that were given last.
        """
        heard = dict(peers)
        if self._written.get(network, {}) == heard:
            return
        now = int(time.time())
        kept = self._kept.setdefault(network, {})
        kept.update({node: (place, now) for node, place in heard.items()})
        newest = sorted(kept.items(), key=lambda item: item[1][1], reverse=True)[:MAX_LINES]
        self._kept[network] = dict(newest)
        lines = [
            f"{node_text(node)} {host} {port} {seen}\n" for node, ((host, port), seen) in newest
        ]
        path = _peers_file(self._folder, network)
        with _told(path):
            write_atomically(path, "".join(sorted(lines)).encode(), sync=False)
        self._written[network] = heard

    @staticmethod
    def _read(path: Path) -> str | None:
        with _told(path), contextlib.suppress(FileNotFoundError), path.open("rb") as stream:
            return stream.read(_FILE_LIMIT).decode("utf-8", "replace")
        return None
