"""Makes a node's UDP lose, delay or refuse datagrams, for tests of what stands above it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, cast

from ztstack.aio.service import Service
from ztstack.aio.udp import UdpSockets
from ztstack.base.datagram import Datagram
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import InvalidConfig

MAX_FLYING: Final = 8192
"""Datagrams that may be under way at once; as in a router, the next ones are lost."""
_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens to each datagram: lost with probability `loss`, else `latency` seconds late."""

    loss: float = 0.0
    latency: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.loss <= 1:
            raise InvalidConfig(f"a loss is from 0 to 1, not {self.loss}")
        if not 0 <= self.latency <= 60:
            raise InvalidConfig(f"a latency is from 0 to 60 s, not {self.latency}")


def parse_latency(text: float | str) -> float:
    """Return seconds: a number is seconds, a text has a unit (us, ms, s); InvalidConfig."""
    if not isinstance(text, str):
        return float(text)
    number = text.rstrip("musec ")
    try:
        return float(number) * _UNITS[text[len(number) :].strip()]
    except (ValueError, KeyError):
        raise InvalidConfig(f"a latency is like 20ms or 0.5s, not {text!r}") from None


class RoughUdp:
    """Stands before the UDP sockets of one node; `allowed` says which remotes it may reach."""

    def __init__(
        self, inner: UdpSockets, loop: asyncio.AbstractEventLoop, chance: random.Random
    ) -> None:
        self._inner = inner
        self._loop = loop
        self._random = chance
        self._flying = 0
        self.weather = Weather()
        self.allowed: Callable[[Endpoint], bool] = lambda remote: True  # noqa: ARG005
        self.lost = 0

    @classmethod
    def install(cls, service: Service, seed: int) -> RoughUdp:
        """Put it before the sockets of a running service."""
        driver = service.driver
        made = cls(driver.udp, driver.loop, random.Random(seed))  # noqa: S311 - seeded, not secret
        driver.udp = cast("UdpSockets", made)
        return made

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def send(self, datagram: Datagram) -> None:
        if not self.allowed(datagram.remote):
            self.lost += 1
            return
        weather = self.weather
        if not weather.loss and not weather.latency:
            self._inner.send(datagram)
            return
        for piece in _pieces(datagram):
            if self._random.random() < weather.loss or self._flying >= MAX_FLYING:
                self.lost += 1
            elif weather.latency:
                self._flying += 1
                self._loop.call_later(weather.latency, self._land, piece)
            else:
                self._inner.send(piece)

    def _land(self, datagram: Datagram) -> None:
        self._flying -= 1
        self._inner.send(datagram)


def _pieces(datagram: Datagram) -> Iterator[Datagram]:
    """Take a train apart: each of its datagrams has a fate of its own."""
    step = datagram.segment or len(datagram.data)
    for start in range(0, len(datagram.data), step):
        yield datagram._replace(data=datagram.data[start : start + step], segment=0)
