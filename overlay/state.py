"""What the overlay keeps in a state directory, each file replaced at once and whole.

`overlay.node` holds the node id, `networks.d/<nwid>.overlay` stands for a joined network, and
`peers.d/<nwid>` has a line for each peer: node id, IP address, port, seconds since 1970. The
directory may be that of a managed node, whose files have other names.
"""

from __future__ import annotations

import ipaddress
import secrets
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from overlay.book import parse_node
from overlay.errors import IdentityError, InvalidConfig, StorageError
from overlay.messages import Place, node_text
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


class State:
    """One state directory, held by one process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._storage = Storage(folder)
        self._written: dict[int, str] = {}

    def open(self) -> None:
        """Take the directory; StateInUse names the process that has it."""
        self._storage.open()

    def close(self) -> None:
        self._storage.close()

    def load_node(self) -> int:
        """Return the node id kept here; the first time it is made."""
        path = self._folder / "overlay.node"
        text = self._read(path)
        if text is None:
            node = fresh_node()
            write_atomically(path, node_text(node).encode() + b"\n")
            return node
        try:
            return parse_node(text.strip())
        except InvalidConfig as error:
            raise IdentityError(f"{path}: {error}") from None

    # Networks.

    def networks(self) -> list[int]:
        found = []
        for path in sorted((self._folder / "networks.d").glob("*.overlay"))[:MAX_NETWORKS]:
            try:
                found.append(int(path.stem, 16))
            except ValueError:
                continue
        return found

    def add_network(self, network: int) -> None:
        path = self._network(network)
        if not path.exists():
            write_atomically(path, b"")

    def remove_network(self, network: int) -> None:
        self._network(network).unlink(missing_ok=True)
        self._peers(network).unlink(missing_ok=True)
        self._written.pop(network, None)

    def _network(self, network: int) -> Path:
        return self._folder / "networks.d" / f"{network:016x}.overlay"

    # Peers.

    def load_peers(self, network: int) -> list[tuple[int, Place]]:
        """Return the peers of a network; lines that are none are passed over."""
        text = self._read(self._peers(network)) or ""
        found = []
        oldest = time.time() - _LIFE_S
        for line in text.splitlines()[:MAX_LINES]:
            try:
                node, host, port, seen = line.split()
                place = str(ipaddress.ip_address(host)), int(port)
                if 0 < place[1] < 65536 and float(seen) > oldest:
                    found.append((parse_node(node), place))
            except ValueError:
                continue
        return found

    def save_peers(self, network: int, peers: Iterable[tuple[int, Place]]) -> None:
        """Write the peers if they are others than those written last."""
        places = sorted((node_text(node), *place) for node, place in peers)[:MAX_LINES]
        plain = repr(places)
        if self._written.get(network) == plain:
            return
        now = int(time.time())
        lines = [f"{node} {host} {port} {now}\n" for node, host, port in places]
        write_atomically(self._peers(network), "".join(lines).encode(), sync=False)
        self._written[network] = plain

    def _peers(self, network: int) -> Path:
        return self._folder / "peers.d" / f"{network:016x}"

    @staticmethod
    def _read(path: Path) -> str | None:
        try:
            with path.open("rb") as stream:
                return stream.read(_FILE_LIMIT).decode("utf-8", "replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from error
