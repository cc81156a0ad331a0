"""What every engine does alike: streams, ends, resets, refusals, datagrams."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields

import pytest

import ztstack
from tests.conformance.conftest import Arena
from ztcli.boundary import code_of
from ztcli.bridge import Counts, bridge
from ztcli.engine import Engine, Listener, Stream
from ztcli.exit_codes import ExitCode

pytestmark = pytest.mark.timeout(120)

OURS = ("managed", "zerotier", "libzt", "overlay")


async def read_all(stream: Stream) -> bytes:
    parts: list[bytes] = []
    while views := await stream.receive_views():
        parts.extend(bytes(view) for view in views)
    return b"".join(parts)


async def send_all(stream: Stream, data: bytes) -> None:
    await stream.send(data)
    await stream.send_eof()


def where(listener: Listener) -> str:
    """Return an address of a listener, IPv4 if it has one."""
    return min(listener.addresses, key=lambda place: ":" in place[0])[0]


@asynccontextmanager
async def connected(near: Engine, far: Engine) -> AsyncIterator[tuple[Stream, Stream]]:
    """Open a stream; whatever is left of it is reset in the end."""
    listener = await far.listen(0)
    client = await near.connect(where(listener), listener.port, 20)
    server = await listener.accept()
    try:
        yield client, server
    finally:
        client.abort()
        server.abort()
        listener.close()


def test_both_ways_at_once(arena: Arena) -> None:
    there, back = os.urandom(3_000_000), os.urandom(3_000_000)

    async def script(near: Engine, far: Engine) -> None:
        async with connected(near, far) as (client, server), asyncio.TaskGroup() as group:
            group.create_task(send_all(client, there))
            group.create_task(send_all(server, back))
            got_there = group.create_task(read_all(server))
            got_back = group.create_task(read_all(client))
        assert hashlib.sha256(got_there.result()).digest() == hashlib.sha256(there).digest()
        assert hashlib.sha256(got_back.result()).digest() == hashlib.sha256(back).digest()

    arena.run(script)


def test_names_of_both_ends(arena: Arena) -> None:
    async def script(near: Engine, far: Engine) -> None:
        async with connected(near, far) as (client, server):
            assert client.remote == server.local
            assert client.local == server.remote
            assert client.local[0] in near.addresses()

    arena.run(script)


@pytest.mark.parametrize("first", ["client", "server"])
def test_half_close(arena: Arena, first: str) -> None:
    async def script(near: Engine, far: Engine) -> None:
        async with connected(near, far) as ends:
            one, other = ends if first == "client" else ends[::-1]
            await send_all(one, b"question")
            assert await read_all(other) == b"question"
            await other.send(b"ans")
            assert await one.receive() == b"ans"
            await send_all(other, b"wer")
            assert await read_all(one) == b"wer"
            await one.wait_sent(5)
            await other.wait_sent(5)
            await one.close()
            await other.close()

    arena.run(script)


def test_an_end_without_data(arena: Arena) -> None:
    async def script(near: Engine, far: Engine) -> None:
        async with connected(near, far) as (client, server):
            await client.send_eof()
            await server.send_eof()
            assert await client.receive() == b""
            assert await server.receive() == b""

    arena.run(script)


def test_what_was_sent_before_close_arrives(arena: Arena) -> None:
    data = os.urandom(1_000_000)

    async def script(near: Engine, far: Engine) -> None:
        async with connected(near, far) as (client, server), asyncio.TaskGroup() as group:
            reading = group.create_task(read_all(server))
            await client.send(data)
            await client.close()
        assert reading.result() == data

    arena.run(script)


def test_who_does_not_read_stops_the_sender(arena: Arena) -> None:
    data = bytes(32_000_000)

    async def script(near: Engine, far: Engine) -> None:
        async with connected(near, far) as (client, server), asyncio.TaskGroup() as group:
            sending = group.create_task(send_all(client, data))
            done, _ = await asyncio.wait((sending,), timeout=0.5)
            assert not done
            assert len(await read_all(server)) == len(data)

    arena.run(script)


@pytest.mark.parametrize("who", ["client", "server"])
def test_reset(arena: Arena, who: str) -> None:
    async def script(near: Engine, far: Engine) -> None:
        async with connected(near, far) as ends:
            one, other = ends if who == "client" else ends[::-1]
            await one.send(b"x")
            assert await other.receive() == b"x"
            one.abort()
            with pytest.raises(ConnectionResetError) as raised:
                await other.receive()
            assert code_of(raised.value) == ExitCode.CONNECTION_LOST

    arena.run(script)


def test_nobody_listens(arena: Arena) -> None:
    async def script(near: Engine, far: Engine) -> None:
        listener = await far.listen(0)
        host, port = where(listener), listener.port
        listener.close()
        with pytest.raises(ConnectionRefusedError) as raised:
            await near.connect(host, port, 20)
        assert code_of(raised.value) == ExitCode.CANNOT_CONNECT

    arena.run(script)


def test_port_in_use(arena: Arena) -> None:
    async def script(near: Engine, far: Engine) -> None:
        listener = await far.listen(0)
        endpoint = await far.datagram(0)
        with pytest.raises(OSError, match=r".") as stream_port:
            await far.listen(listener.port)
        with pytest.raises(OSError, match=r".") as datagram_port:
            await far.datagram(endpoint.local_port)
        assert code_of(stream_port.value) == ExitCode.PORT_IN_USE
        assert code_of(datagram_port.value) == ExitCode.PORT_IN_USE
        port = listener.port
        listener.close()
        endpoint.close()
        await asyncio.sleep(0)
        (await far.listen(port)).close()

    arena.run(script)


def test_many_at_once(arena: Arena) -> None:
    async def script(near: Engine, far: Engine) -> None:
        listener = await far.listen(0)

        async def answer() -> None:
            server = await listener.accept()
            await send_all(server, (await read_all(server))[::-1])
            await server.wait_sent(10)
            await server.close()

        async def ask(number: int) -> None:
            client = await near.connect(where(listener), listener.port, 20)
            text = str(number).encode() * 1000
            await send_all(client, text)
            assert await read_all(client) == text[::-1]
            await client.close()

        async with asyncio.TaskGroup() as group:
            for number in range(30):
                group.create_task(answer())
                group.create_task(ask(number))
        listener.close()

    arena.run(script)


def test_bridges_pass_on_each_end_by_itself(arena: Arena) -> None:
    """What expose and forward do, with both sides in the network."""
    data = os.urandom(500_000)

    async def script(near: Engine, far: Engine) -> None:
        async with connected(near, far) as (client, middle), connected(far, far) as (out, server):
            counts = Counts()
            async with asyncio.TaskGroup() as group:
                joining = group.create_task(bridge(middle, out, counts))
                group.create_task(send_all(client, data))
                received = await read_all(server)
                # The first direction is over; the second has just begun.
                await send_all(server, received[::-1])
                assert await read_all(client) == data[::-1]
                # An end of ours must not be waited for by the other's acknowledgement.
                await client.close()
                await server.close()
            assert joining.done()
            assert (counts.there, counts.back) == (len(data), len(data))

    arena.run(script)


def test_datagrams(arena: Arena) -> None:
    async def script(near: Engine, far: Engine) -> None:
        one, two = await far.datagram(0), await near.datagram(0)
        host = min(one.addresses, key=lambda place: ":" in place[0])[0]
        payloads = [b"ping", os.urandom(1000), os.urandom(9000)]
        if arena.name != "os":  # asyncio sends no empty datagrams.
            payloads.append(b"")
        for payload in payloads:
            data = None
            for _ in range(20):  # A datagram may be lost, on whatever path.
                await two.send(payload, host, one.local_port)
                try:
                    async with asyncio.timeout(1):
                        data, remote, _ = await one.receive()
                        break
                except TimeoutError:
                    continue
            assert data == payload
            assert remote[1] == two.local_port
            await one.send(payload[::-1], *remote)
            async with asyncio.timeout(10):
                answer, sender, _ = await two.receive()
            assert (answer, sender[1]) == (payload[::-1], one.local_port)
        one.close()
        two.close()

    arena.run(script)


# The system asks its resolver, and what that says is not ours.
@pytest.mark.parametrize("arena", OURS, indirect=True)
def test_names_that_are_none(arena: Arena) -> None:
    async def script(near: Engine, far: Engine) -> None:
        with pytest.raises(OSError, match="nobody-has-this-name") as raised:
            await near.connect("nobody-has-this-name", 80, 5)
        assert code_of(raised.value) == ExitCode.NOT_RESOLVED

    arena.run(script)


# The engine of the system has pings only as tests give them.
@pytest.mark.parametrize("arena", OURS, indirect=True)
def test_ping(arena: Arena) -> None:
    async def script(near: Engine, far: Engine) -> None:
        links: list[str] = []
        # The first may come by way of a root, until the two have met.
        while "direct" not in links and len(links) < 20:
            pong = await near.ping(far.node_id, 10, icmp=False, size=32)
            assert pong.node == far.node_id
            assert pong.rtt_ms > 0
            links.append(pong.link)
        assert links[-1] == "direct"

    arena.run(script)


# What the engine of the system tells is made up.
@pytest.mark.parametrize("arena", OURS, indirect=True)
def test_status(arena: Arena) -> None:
    async def script(near: Engine, far: Engine) -> None:
        await near.ping(far.node_id, 10, icmp=False, size=32)
        # As `zt status --json` prints it.
        found = json.loads(json.dumps(await near.status()))
        assert found["node"] == near.node_id
        keys = {"node", "online", "version", "planet", "local", "networks", "peers", "drops"}
        assert set(found) - {"transport"} == keys | {"bonds"}
        assert found["online"] is True
        for text in found["local"]:
            assert re.fullmatch(r"[0-9a-f.:]+/[0-9]{1,5}", text)
        (network,) = found["networks"]
        assert set(network) == {one.name for one in fields(ztstack.NetworkReport)}
        assert (network["network"], network["status"]) == (near.networks[0], "OK")
        assert {text.partition("/")[0] for text in network["addresses"]} == set(near.addresses())
        peer = next(peer for peer in found["peers"] if peer["address"] == far.node_id)
        assert set(peer) == {one.name for one in fields(ztstack.PeerReport)}
        assert peer["role"] == "leaf"

    arena.run(script)
