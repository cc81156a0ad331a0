from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

import ztstack
from tests.support.switches import planet_of
from tests.support.vl2 import ALICE, BOB, ROOT as ROOT_IDENTITY
from ztstack.aio.relay_server import RelayServer
from ztstack.aio.storage import Storage
from ztstack.aio.tcp_relay import (
    ANSWER_US,
    CONNECT_US,
    DEFAULT_RELAY,
    FIRST_PAUSE_US,
    FIRST_SILENCE_US,
    GREETING,
    LONGEST,
    LONGEST_PAUSE_US,
    ONGOING_US,
    QUEUE_BYTES,
    SHORTEST,
    SILENCE_US,
    Arrived,
    RelayClient,
    State,
    choose_relay,
)
from ztstack.base.datagram import ALL_SOCKETS, Datagram
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import InvalidConfig, Offline
from ztstack.base.timers import SECOND
from ztstack.wire.planet import official_planet

SERVER = Endpoint.parse("204.80.128.1/443")
ROOT = Endpoint.parse("84.17.53.155/9993")
ROOT6 = Endpoint.parse("2a02:6ea0:d405::9993/9993")
LAN = Endpoint.parse("192.168.1.7/9993")
START = 1_000_000_000 * SECOND
HELLO = bytes(range(100))


def datagram(size: int = 100, remote: Endpoint = ROOT, segment: int = 0, ttl: int = 0) -> Datagram:
    return Datagram(ALL_SOCKETS, remote, bytes(i & 255 for i in range(size)), segment, ttl)


def record(data: bytes, remote: Endpoint = ROOT) -> bytes:
    kind = 4 if remote.is_ipv4 else 6
    payload = bytes((kind,)) + remote.ip + remote.port.to_bytes(2, "big") + data
    return b"\x17\x03\x03" + len(payload).to_bytes(2, "big") + payload


def opened(now: int = START) -> RelayClient:
    """Return a forced client whose connection stands; everything was written."""
    client = RelayClient(now, SERVER, forced=True)
    client.offer(now, datagram())
    client.connected(now)
    client.sent(len(client.output))
    client.receive(now, record(HELLO))
    return client


# When it is used.


def test_forced_is_used_at_once_and_alone() -> None:
    client = RelayClient(START, SERVER, forced=True)
    assert client.offer(START, Datagram(ALL_SOCKETS, ROOT, HELLO)) is True
    assert (client.state, client.attempt) == (State.CONNECTING, 1)
    assert bytes(client.output) == GREETING + record(HELLO)
    client.heard(START + 1, ROOT, 100)
    assert client.state is State.CONNECTING


def test_greeting_and_data_are_framed_as_specified() -> None:
    assert GREETING.hex() == "1703030004010e0001"
    client = RelayClient(START, SERVER, forced=True)
    client.offer(START, Datagram(0, ROOT, bytes(16)))
    assert client.output[9:].hex() == "1703030017" + "04" + "5411359b" + "2709" + "00" * 16


@pytest.mark.parametrize(
    "unsuitable",
    [
        datagram(remote=ROOT6),
        datagram(remote=LAN),
        datagram(remote=Endpoint.parse("127.0.0.1/9993")),
        datagram(remote=Endpoint.parse("224.0.0.1/9993")),
        datagram(size=SHORTEST - 1),
        datagram(ttl=2),
    ],
)
def test_unsuitable_datagrams_are_not_given_to_it(unsuitable: Datagram) -> None:
    client = RelayClient(START, SERVER, forced=True)
    assert client.offer(START, unsuitable) is True
    assert client.state is State.OFF


@pytest.mark.parametrize(("server", "used"), [("10.0.0.1/443", True), ("127.0.0.1/443", False)])
def test_private_relay_leads_to_private_addresses(server: str, used: bool) -> None:
    client = RelayClient(START, Endpoint.parse(server), forced=True)
    client.offer(START, datagram(remote=LAN))
    assert (client.state is not State.OFF) is used


def test_silence_since_the_start() -> None:
    client = RelayClient(START, SERVER)
    assert client.offer(START, datagram()) is False
    client.offer(START + FIRST_SILENCE_US - 1, datagram())
    assert client.attempt == 0
    assert client.offer(START + FIRST_SILENCE_US, datagram()) is False
    assert client.state is State.CONNECTING


def test_silence_after_udp_was_heard() -> None:
    client = RelayClient(START, SERVER)
    heard = START + 10 * SECOND
    client.heard(heard, ROOT, 100)
    for now in range(heard, heard + SILENCE_US, SECOND):
        client.offer(now, datagram())
    assert client.attempt == 0
    client.offer(heard + SILENCE_US, datagram())
    client.offer(heard + SILENCE_US + 1, datagram())
    assert client.state is State.CONNECTING


@pytest.mark.parametrize(("size", "remote"), [(15, ROOT), (100, LAN)])
def test_what_is_no_sign_that_udp_works(size: int, remote: Endpoint) -> None:
    client = RelayClient(START, SERVER)
    client.offer(START, datagram())
    client.heard(START + 1, remote, size)
    client.offer(START + FIRST_SILENCE_US, datagram())
    assert client.state is State.CONNECTING


def test_single_send_is_no_reason() -> None:
    client = RelayClient(START, SERVER)
    client.offer(START, datagram())
    client.offer(START + ONGOING_US + 1, datagram())
    assert client.attempt == 0
    client.offer(START + ONGOING_US + 2, datagram())
    assert client.state is State.CONNECTING


def test_udp_that_works_again_closes_it() -> None:
    client = RelayClient(START, SERVER)
    client.offer(START, datagram())
    now = START + FIRST_SILENCE_US
    client.offer(now, datagram())
    client.connected(now)
    client.heard(now + SECOND, ROOT6, 100)
    assert (client.state, bytes(client.output), client.next_timer()) == (State.OFF, b"", None)
    client.offer(now + SILENCE_US, datagram())
    assert client.state is State.OFF


def test_restart_asks_anew() -> None:
    client = RelayClient(START, SERVER)
    client.heard(START, ROOT, 100)
    client.restart(START + SECOND)
    client.offer(START + SECOND, datagram())
    client.offer(START + SECOND + FIRST_SILENCE_US, datagram())
    assert client.state is State.CONNECTING


def test_restart_drops_a_connection_of_old_addresses() -> None:
    client = opened()
    client.restart(START + SECOND)
    assert client.state is State.OFF
    client.offer(START + SECOND, datagram())
    assert (client.state, client.attempt) == (State.CONNECTING, 2)


def test_default_relay_serves_the_official_planet_only() -> None:
    official, private = official_planet(), planet_of([(BOB, LAN)])
    assert choose_relay(DEFAULT_RELAY, official, forced=False) == DEFAULT_RELAY
    assert choose_relay(DEFAULT_RELAY, private, forced=False) is None
    assert choose_relay(DEFAULT_RELAY, private, forced=True) == DEFAULT_RELAY
    assert choose_relay(LAN, private, forced=False) == LAN
    assert choose_relay(None, official, forced=False) is None


# The connection.


def test_failures_make_longer_pauses() -> None:
    client = RelayClient(START, SERVER, forced=True)
    now, pause = START, FIRST_PAUSE_US
    for attempt in range(1, 9):
        client.offer(now, datagram())
        assert client.attempt == attempt
        client.lost(now, "connection refused")
        assert (client.state, client.trouble) == (State.OFF, "connection refused")
        client.offer(now + pause - 1, datagram())
        assert client.attempt == attempt
        now, pause = now + pause, min(2 * pause, LONGEST_PAUSE_US)
    assert pause == LONGEST_PAUSE_US


def test_long_connection_forgives_failures() -> None:
    client = opened()
    client.lost(START + LONGEST_PAUSE_US, "closed the connection")
    client.offer(START + LONGEST_PAUSE_US, datagram())
    assert client.state is State.CONNECTING


def test_server_that_hangs_up_at_once() -> None:
    client = opened()
    client.lost(START, "closed the connection")
    client.offer(START + FIRST_PAUSE_US - 1, datagram())
    assert client.state is State.OFF


def test_server_that_does_not_answer() -> None:
    client = RelayClient(START, SERVER, forced=True)
    client.offer(START, datagram())
    assert client.next_timer() == START + CONNECT_US
    client.handle_timer(START + CONNECT_US - 1)
    assert client.state is State.CONNECTING
    client.handle_timer(START + CONNECT_US)
    assert (client.state, client.next_timer()) == (State.OFF, None)
    assert client.trouble == "did not answer in 10 s"


def test_connection_that_fell_silent() -> None:
    client = opened()
    assert client.next_timer() is None
    client.offer(START + SECOND, datagram())
    client.offer(START + 2 * SECOND, datagram())
    assert client.next_timer() == START + SECOND + ANSWER_US
    client.receive(START + 3 * SECOND, record(HELLO))
    assert client.next_timer() is None
    client.offer(START + 4 * SECOND, datagram())
    client.handle_timer(START + 4 * SECOND + ANSWER_US)
    assert (client.state, client.trouble) == (State.OFF, "fell silent")


def test_what_waited_for_the_connection_asks_too() -> None:
    client = RelayClient(START, SERVER, forced=True)
    client.offer(START, datagram())
    client.connected(START + SECOND)
    assert client.next_timer() == START + SECOND + ANSWER_US


def test_late_news_of_a_connection_are_ignored() -> None:
    client = RelayClient(START, SERVER, forced=True)
    client.connected(START)
    client.lost(START, "reset")
    assert client.receive(START, record(HELLO)) == []
    assert (client.state, client.trouble) == (State.OFF, "")


# The queue.


def test_queue_is_bounded() -> None:
    client = opened()
    for _ in range(200):
        client.offer(START, datagram(1000))
    assert QUEUE_BYTES <= len(client.output) < QUEUE_BYTES + LONGEST + 12
    assert client.dropped == 200 - len(client.output) // 1012
    client.sent(len(client.output) - 1)
    client.offer(START, datagram(1000))
    assert len(client.output) == 1 + 1012


def test_trains_are_cut() -> None:
    client = opened()
    client.offer(START, datagram(250, segment=100))
    data = datagram(250).data
    pieces = (data[:100], data[100:200], data[200:])
    assert bytes(client.output) == b"".join(record(piece) for piece in pieces)


@pytest.mark.parametrize(("size", "taken"), [(16, True), (2047, True), (2048, False)])
def test_sizes_that_relays_carry(size: int, taken: bool) -> None:
    client = opened()
    client.offer(START, datagram(size))
    assert (len(client.output) > 0, client.dropped) == (taken, 0 if taken else 1)


# What comes from it.


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_records_in_pieces(step: int) -> None:
    stream = b"".join(
        (
            b"\x17\x03\x03\x00\x04\x01\x0e\x00\x01",
            record(HELLO),
            b"\x17\x03\x03\x00\x01\x00",
            record(b"six", ROOT6),
            record(b""),
            record(b"no port", ROOT._replace(port=0)),
        )
    )
    client = opened()
    found = []
    for start in range(0, len(stream), step):
        found += client.receive(START, stream[start : start + step])
    assert found == [Arrived(ROOT, HELLO, 100), Arrived(ROOT6, b"six", 3)]
    assert client.state is State.OPEN


def test_neighbours_are_joined() -> None:
    client = opened()
    parts = [b"aaaa", b"bbbb", b"cc", b"dd", b"eee"]
    stream = b"".join(record(part) for part in parts) + record(b"fff", ROOT6)
    assert client.receive(START, stream) == [
        Arrived(ROOT, b"aaaabbbbcc", 4),
        Arrived(ROOT, b"dd", 2),
        Arrived(ROOT, b"eee", 3),
        Arrived(ROOT6, b"fff", 3),
    ]


@pytest.mark.parametrize(
    "bad",
    [
        b"HTTP/1.1 400 Bad Request",
        b"\x17\x03\x01\x00\x04\x01\x0e\x00\x01",
        b"\x17\x03\x03\x00\x00",
        b"\x17\x03\x03\x00\x08\x05" + bytes(7),
        b"\x17\x03\x03\x00\x06\x04" + bytes(5),
        b"\x17\x03\x03\x00\x12\x06" + bytes(17),
    ],
)
def test_nonsense_closes_the_connection(bad: bytes) -> None:
    client = opened()
    assert client.receive(START, record(HELLO) + bad) == [Arrived(ROOT, HELLO, 100)]
    assert client.state is State.OFF
    assert client.trouble.startswith("sent nonsense")
    assert client.receive(START, record(HELLO)) == []


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_noise_does_not_raise(chunks: list[bytes]) -> None:
    client = opened()
    for chunk in chunks:
        if client.state is State.OPEN:
            client.receive(START, b"\x17\x03\x03\x00\x1d" + chunk)
    assert client.state in (State.OPEN, State.OFF)


# Nodes.


@dataclass(slots=True)
class World:
    """A lab with a node that is reached by UDP, and a relay."""

    details: ztstack.LabDetails
    relay: RelayServer
    peer: ztstack.Node

    def config(self, *, forced: bool, bind: str = "127.0.0.1/0") -> ztstack.NodeConfig:
        return ztstack.NodeConfig(
            networks=(self.details.network,),
            planet=self.details.planet.read_bytes(),
            identity=BOB,
            bind=(Endpoint.parse(bind),),
            relay=Endpoint.parse(f"127.0.0.1/{self.relay.port}"),
            force_relay=forced,
        )


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    storage = Storage(folder / "lab")
    storage.open()
    storage.save_identity(ROOT_IDENTITY)
    storage.close()
    lab = ztstack.Lab(folder / "lab")
    details = await lab.start()
    relay = RelayServer()
    await relay.start()
    try:
        config = ztstack.NodeConfig(
            networks=(details.network,),
            planet=details.planet.read_bytes(),
            identity=ALICE,
        )
        async with ztstack.Node(config) as peer:
            yield World(details, relay, peer)
    finally:
        await relay.stop()
        await lab.stop()


async def exchange(node: ztstack.Node, peer: ztstack.Node, port: int, size: int) -> None:
    """Send so many bytes there and back."""
    data = bytes(i & 255 for i in range(size))
    listener = await peer.listen(port)
    stream = await node.connect(peer.addresses()[0], port, 10.0)
    answer = await listener.accept()
    async with stream, answer, asyncio.TaskGroup() as tasks:
        for source, target in ((stream, answer), (answer, stream)):
            tasks.create_task(send(source, data))
            tasks.create_task(expect(target, data))
    listener.close()


async def send(stream: ztstack.Stream, data: bytes) -> None:
    await stream.send(data)
    await stream.send_eof()


async def expect(stream: ztstack.Stream, data: bytes) -> None:
    found = b""
    while chunk := await stream.receive():
        found += chunk
    assert found == data


def test_node_without_udp(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as made, ztstack.Node(made.config(forced=True)) as node:
            await exchange(node, made.peer, 7001, 1_000_000)
            assert node.service.driver.udp.sent == 0
            assert made.relay.greetings == 1
            assert made.relay.outward > 500

    asyncio.run(main())


def test_node_whose_relay_connection_is_cut(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as made, ztstack.Node(made.config(forced=True)) as node:
            await exchange(node, made.peer, 7001, 1000)
            made.relay.cut()
            await exchange(node, made.peer, 7002, 1000)
            assert made.relay.greetings == 2

    asyncio.run(main())


def test_udp_that_is_dead_is_noticed(tmp_path: Path) -> None:
    """A node with a socket of the wrong family is as good as one behind a firewall."""

    async def main() -> None:
        async with world(tmp_path) as made:
            config = made.config(forced=False, bind="::1/0")
            node = ztstack.Node(replace(config, networks=()))
            await node.start()
            try:
                start = asyncio.get_running_loop().time()
                await node.online(10.0)
                assert asyncio.get_running_loop().time() - start < 5.0
                assert made.relay.greetings == 1
            finally:
                await node.stop()

    asyncio.run(main())


def test_udp_that_works_needs_no_relay(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as made, ztstack.Node(made.config(forced=False)) as node:
            await exchange(node, made.peer, 7001, 1000)
            assert made.relay.greetings == 0

    asyncio.run(main())


def test_failure_names_the_relay(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as made:
            await made.relay.stop()
            node = ztstack.Node(replace(made.config(forced=True), networks=()))
            await node.start()
            try:
                with pytest.raises(Offline, match=r"UDP not used; TCP relay .* refused"):
                    await node.online(0.3)
            finally:
                await node.stop()

    asyncio.run(main())


def test_forced_relay_must_be_named() -> None:
    config = ztstack.NodeConfig(relay=None, force_relay=True, identity=BOB)
    with pytest.raises(InvalidConfig, match="none is named"):
        asyncio.run(ztstack.Node(config).start())
