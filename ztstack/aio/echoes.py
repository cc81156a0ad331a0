"""Waits for the answers to VL1 echoes."""

from __future__ import annotations

import asyncio
import itertools
from typing import Final

from ztstack.aio.driver import Driver
from ztstack.base.address import Address
from ztstack.base.errors import InvalidConfig
from ztstack.vl1.events import EchoReply

TOKEN_BYTES: Final = 8
MAX_ECHO_BYTES: Final = 1400
"""The answer comes in one datagram, which is not cut."""

AGAIN_S: Final = 1.0


class Echoes:
    """Echoes on their way, told apart by a number at the beginning of their data."""

    def __init__(self) -> None:
        self._tokens = itertools.count(1)
        self._waiting: dict[bytes, asyncio.Future[EchoReply]] = {}

    async def ask(
        self, driver: Driver, address: Address, timeout: float | None, size: int = TOKEN_BYTES
    ) -> EchoReply:
        """Send an echo of `size` bytes and wait for its answer; TimeoutError, InvalidConfig.

        It is sent again every second: a node is silent if another echo came just before on the
        same path, such as a root's that brought this one.
        """
        check_size(size)
        if address == driver.node.identity.address:
            raise InvalidConfig(f"{address} is this node itself")
        token = next(self._tokens).to_bytes(TOKEN_BYTES, "big")
        answer: asyncio.Future[EchoReply] = driver.loop.create_future()
        self._waiting[token] = answer
        try:
            async with asyncio.timeout(timeout):
                while not answer.done():
                    driver.node.switch.echo(driver.now(), address, token.ljust(size, b"\0"))
                    driver.pump_soon()
                    await asyncio.wait((answer,), timeout=AGAIN_S)
                return answer.result()
        except TimeoutError:
            raise TimeoutError(f"{address}: no answer in {timeout:g} s") from None
        finally:
            del self._waiting[token]

    def receive(self, reply: EchoReply) -> None:
        answer = self._waiting.get(reply.data[:TOKEN_BYTES])
        if answer is not None and not answer.done():
            answer.set_result(reply)


def check_size(size: int) -> None:
    if not TOKEN_BYTES <= size <= MAX_ECHO_BYTES:
        raise InvalidConfig(f"an echo has {TOKEN_BYTES} to {MAX_ECHO_BYTES} bytes, not {size}")
