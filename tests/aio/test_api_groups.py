"""Multicast from the API: endpoints and asyncio's datagram transports on two nodes of a lab."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

import ztstack
from tests.support.loopback import OnLab


@pytest.fixture(scope="module")
def on_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnLab]:
    made = OnLab(tmp_path_factory.mktemp("lab"))
    yield made
    made.stop()


@asynccontextmanager
async def every(send: Callable[[], None]) -> AsyncIterator[None]:
    """Send again and again: who joins a group has to be heard of by the root first."""

    async def repeat() -> None:
        while True:
            send()
            await asyncio.sleep(0.1)

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()


class Queue(asyncio.DatagramProtocol):
    """Keeps what comes."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[bytes, tuple[str, int]]] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.queue.put_nowait((data, addr))


@pytest.mark.parametrize("group", ["239.1.2.3", "ff05::1:3"])
def test_endpoints_in_a_group(on_lab: OnLab, group: str) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        listening, sending = await alice.datagram(), await bob.datagram()
        listening.join_group(group)
        async with every(lambda: sending.send_now(b"hello", group, listening.local_port)):
            data, (host, port), local = await listening.receive()
        assert (data, port, local) == (b"hello", sending.local_port, group)
        assert host in bob.addresses()
        listening.leave_group(group)
        with pytest.raises(ztstack.LocalError):
            listening.leave_group(group)
        listening.close()
        sending.close()
        with pytest.raises(ztstack.LocalError):
            listening.join_group(group)

    on_lab(body)


def test_transports_in_a_group(on_lab: OnLab) -> None:
    group = "239.1.2.4"

    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        near, heard = await alice.create_datagram_endpoint(Queue)
        near.join_group(group)
        sockname = near.get_extra_info("sockname")
        assert isinstance(sockname, tuple)
        port = sockname[1]
        far, _ = await bob.create_datagram_endpoint(Queue, remote_addr=(group, port))
        async with every(lambda: far.sendto(b"hello")):
            data, where = await heard.queue.get()
        assert data == b"hello"
        assert where[0] in bob.addresses()
        near.leave_group(group)
        near.close()
        far.close()

    on_lab(body)


@pytest.mark.parametrize("group", ["10.0.0.1", "255.255.255.255", "everybody", "fd00::1"])
def test_what_is_no_group(on_lab: OnLab, group: str) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        endpoint = await alice.datagram()
        with pytest.raises(ztstack.LocalError):
            endpoint.join_group(group)
        endpoint.close()

    on_lab(body)


def test_only_on_a_network_that_is_joined(on_lab: OnLab) -> None:
    async def body(alice: ztstack.Node, bob: ztstack.Node) -> None:
        endpoint = await alice.datagram()
        with pytest.raises(ztstack.LocalError):
            endpoint.join_group("239.1.2.3", "8056c2e21c000001")
        endpoint.close()

    on_lab(body)
