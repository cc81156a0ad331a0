"""Which UDP sockets a node opens: what its owner wants, else the port of its last run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from ztstack.aio.local_addresses import interface_of
from ztstack.aio.storage import Storage
from ztstack.aio.udp import UdpSockets
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import InvalidConfig, PortInUse
from ztstack.bonding.settings import Multipath

_ANY: Final = (bytes(4), bytes(16))


def open_bound(udp: UdpSockets, binds: Iterable[Endpoint]) -> None:
    """Open what is wanted, or fail."""
    for bind in binds:
        udp.open(bind)


def open_multipath(udp: UdpSockets, wanted: Multipath) -> None:
    """Open every port on every local address that is wanted, the first port first."""
    for port in wanted.ports or (0,):
        for ip in wanted.bind:
            udp.open(Endpoint(ip, port), interface_of(ip))
        if not wanted.bind:
            _open_any(udp, port, exact=True)


def open_usual(udp: UdpSockets, storage: Storage | None) -> None:
    """Open one port of both families: that of the last run, so that peers find the node at once."""
    port = storage.load_port() if storage is not None else 0
    port = _open_any(udp, port, exact=False)
    if storage is not None:
        storage.save_port(port)


def _open_any(udp: UdpSockets, port: int, *, exact: bool) -> int:
    """Open a port of each family that this machine has; return it."""
    failures: list[Exception] = []
    opened = False
    for ip in _ANY:
        for candidate in _candidates(port, exact=exact):
            try:
                port = udp.open(Endpoint(ip, candidate)).local.port
            except (InvalidConfig, OSError) as error:
                if exact and isinstance(error, PortInUse):
                    raise
                failures.append(error)  # This machine may lack one of the families.
            else:
                opened = True
                break
    if not opened:
        raise failures[-1]
    return port


def _candidates(port: int, *, exact: bool) -> Sequence[int]:
    """Return the port, and any other one if it is taken."""
    return (port,) if exact or not port else (port, 0)
