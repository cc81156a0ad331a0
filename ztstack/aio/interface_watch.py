"""Notices that this machine's addresses changed, or that it slept."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import Callable
from typing import Final

POLL_S: Final = 2.0
"""How often to look where the system does not tell of changes, and whether time has jumped."""
SETTLE_S: Final = 0.05
"""Changes come in bunches; one look at the end of each is enough."""
SLEPT_S: Final = 10.0

_RTMGRP_LINK: Final = 0x1
_RTMGRP_IPV4_IFADDR: Final = 0x10
_RTMGRP_IPV6_IFADDR: Final = 0x100


def _netlink() -> socket.socket | None:
    """Return a socket on which Linux tells of changed addresses, None elsewhere."""
    if sys.platform != "linux":
        return None
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    except OSError:
        return None
    try:
        sock.setblocking(False)  # noqa: FBT003
        sock.bind((0, _RTMGRP_LINK | _RTMGRP_IPV4_IFADDR | _RTMGRP_IPV6_IFADDR))
    except OSError:
        sock.close()
        return None
    return sock


class InterfaceWatch:
    """Calls `changed` when addresses may have changed, `woken` when the machine slept."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        changed: Callable[[], None],
        woken: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._changed = changed
        self._woken = woken
        self._netlink = _netlink()
        self._soon: asyncio.TimerHandle | None = None
        self._expected = time.time() + POLL_S
        if self._netlink is not None:
            loop.add_reader(self._netlink.fileno(), self._told)
        self._poll: asyncio.TimerHandle = loop.call_later(POLL_S, self._look)

    def close(self) -> None:
        self._poll.cancel()
        if self._soon is not None:
            self._soon.cancel()
        if self._netlink is not None:
            self._loop.remove_reader(self._netlink.fileno())
            self._netlink.close()
            self._netlink = None

    def _told(self) -> None:
        assert self._netlink is not None
        # An overflow of the queue is a change too, so what is in it does not matter.
        with contextlib.suppress(OSError):
            while self._netlink.recv(65536):
                pass
        if self._soon is None:
            self._soon = self._loop.call_later(SETTLE_S, self._settled)

    def _settled(self) -> None:
        self._soon = None
        self._changed()

    def _look(self) -> None:
        self._poll = self._loop.call_later(POLL_S, self._look)
        late = time.time() - self._expected
        self._expected = time.time() + POLL_S
        if late > SLEPT_S:
            self._woken()
        elif self._netlink is None:
            self._changed()
