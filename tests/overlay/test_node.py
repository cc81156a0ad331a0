"""Nodes over both transports: streams, datagrams, refusals, lives."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import overlay
import ztstack
from overlay import (
    ConnectRefused,
    ConnectReset,
    InvalidConfig,
    MemoryNetwork,
    NameNotResolved,
    Node,
    NodeConfig,
    NotJoined,
    PortInUse,
    StateInUse,
    Unreachable,
)

NETWORK = 0xCAFE2001
A, B, C = 0xA1B2C3D4E5, 0xB1B2C3D4E5, 0xC1B2C3D4E5

Script = Callable[[Node, Node], Awaitable[None]]


async def over(transport: str, script: Script) -> None:
    if transport == "memory":
        link = MemoryNetwork()
        config = NodeConfig((NETWORK,), A, memory=link)
        other = NodeConfig((NETWORK,), B, memory=link, addresses={"10.0.0.1": A})
        async with Node(config) as a, Node(other) as b:
            await script(a, b)
        return
    host = {"udp4": "127.0.0.1", "udp6": "::1"}[transport]
    async with Node(NodeConfig((NETWORK,), A)) as a:
        port = next(port for bound, port in a.locals if bound == host)
        other = NodeConfig((NETWORK,), B, peers={A: (host, port)}, addresses={"10.0.0.1": A})
        async with Node(other) as b:
            await script(a, b)


@pytest.fixture(params=["memory", "udp4", "udp6"])
def run(request: pytest.FixtureRequest) -> Callable[[Script], None]:
    return lambda script: asyncio.run(over(request.param, script))


def test_stream_both_ways(run: Callable[[Script], None]) -> None:
    data = os.urandom(700_000)

    async def script(a: Node, b: Node) -> None:
        listener = await a.listen(0)
        client = await b.connect("10.0.0.1", listener.port, 5)
        server = await listener.accept()
        assert server.remote == (b.address, client.local[1])
        assert client.remote == (a.address, listener.port)
        received = bytearray()

        async def read() -> None:
            while part := await server.receive(1000):
                received.extend(part)
            await server.send(b"done")
            await server.send_eof()

        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            await client.send(data)
            await client.send_eof()
            assert await client.receive() == b"done"
            assert await client.receive() == b""
        await client.wait_sent(5)
        assert received == data
        await client.close()
        await server.close()

    run(script)


def test_datagrams(run: Callable[[Script], None]) -> None:
    async def script(a: Node, b: Node) -> None:
        one, two = await a.datagram(9000), await b.datagram()
        await two.send(b"ping", a.address, 9000)
        data, (host, port), own = await one.receive()
        assert (data, host, port, own) == (b"ping", b.address, two.local_port, a.address)
        await one.send(b"pong", host, port)
        assert (await two.receive())[0] == b"pong"
        with pytest.raises(InvalidConfig):
            await two.send(bytes(70_000), a.address, 9000)
        with pytest.raises(PortInUse):
            await a.datagram(9000)

    run(script)


def test_refusals(run: Callable[[Script], None]) -> None:
    async def script(a: Node, b: Node) -> None:
        with pytest.raises(ConnectRefused, match=r"^a1b2c3d4e5 port 80: refused$"):
            await b.connect(a.address, 80, 5)
        with pytest.raises(NameNotResolved):
            await b.connect("db", 80, 5)
        with pytest.raises(Unreachable):
            await b.connect("0000000001", 80, 5)
        await a.listen(80)
        with pytest.raises(PortInUse):
            await a.listen(80)

    run(script)


def test_reset(run: Callable[[Script], None]) -> None:
    async def script(a: Node, b: Node) -> None:
        listener = await a.listen(80)
        client = await b.connect(a.address, 80, 5)
        (await listener.accept()).abort()
        with pytest.raises(ConnectReset):
            await client.receive()

    run(script)


def test_echo(run: Callable[[Script], None]) -> None:
    async def script(a: Node, b: Node) -> None:
        found = await b.echo("10.0.0.1", 5, size=1000)
        assert found.node == a.address
        assert 0 <= found.rtt_ms < 5000
        (peer,) = b.status().peers
        assert peer.node == a.address or a.config.memory is not None

    run(script)


def test_what_was_closed_is_sent_before_the_node_stops(run: Callable[[Script], None]) -> None:
    data = os.urandom(500_000)

    async def script(a: Node, b: Node) -> None:
        listener = await a.listen(80)
        client = await b.connect(a.address, 80, 5)
        server = await listener.accept()
        await client.send(data)
        await client.close()
        received = bytearray()

        async def read() -> None:
            while part := await server.receive():
                received.extend(part)

        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            group.create_task(b.stop())
        assert received == data

    run(script)


def test_many_lives(tmp_path: Path) -> None:
    events: list[overlay.Event] = []

    async def script() -> None:
        config = NodeConfig((NETWORK,), state=tmp_path, on_event=events.append)
        node = Node(config)
        names = set()
        ports = set()
        for _ in range(5):
            await node.start()
            await node.start()
            names.add(node.address)
            ports.add(node.locals[0][1])
            assert node.networks == ["00000000cafe2001"]
            await node.listen(80)
            await node.datagram(80)
            with pytest.raises(StateInUse):
                await Node(config).start()
            await node.stop()
            await node.stop()
            assert not node.is_running
            with pytest.raises(overlay.Closed):
                node.status()
        assert len(names) == 1
        await asyncio.sleep(0)

    asyncio.run(script())
    kinds = [event.kind.value for event in events]
    assert kinds == ["started", "joined", "stopped"] * 5


def test_join_and_leave(tmp_path: Path) -> None:
    async def script() -> None:
        async with Node(state=tmp_path) as node:
            with pytest.raises(NotJoined):
                await node.listen(80)
            await node.join("cafe2001")
            await node.join("0xCAFE2002")
            assert node.addresses("cafe2002") == [node.address]
            node.leave(0xCAFE2001)
            with pytest.raises(NotJoined):
                node.leave(0xCAFE2001)
            name = node.address
        # Without networks in its configuration, a node has those that it joined.
        async with Node(state=tmp_path) as node:
            assert node.networks == ["00000000cafe2002"]
            assert node.address == name
        assert [path.name for path in (tmp_path / "networks.d").iterdir()] == [
            "00000000cafe2002.overlay"
        ]

    asyncio.run(script())


def test_networks_are_apart() -> None:
    async def script() -> None:
        link = MemoryNetwork()
        async with (
            Node(NodeConfig((1, 2), A, memory=link)) as a,
            Node(NodeConfig((3,), B, memory=link)) as b,
            Node(NodeConfig((2,), C, memory=link)) as c,
        ):
            listener = await a.listen(80)
            with pytest.raises(TimeoutError):
                await b.connect(a.address, 80, 0.05)
            assert a.status().drops["another network"] >= 1
            stream = await c.connect(a.address, 80, 5)
            assert (await listener.accept()).network == stream.network == f"{2:016x}"

    asyncio.run(script())


@pytest.mark.parametrize("transport", ["memory", "udp"])
def test_a_node_on_one_of_our_networks_is_met_there(transport: str) -> None:
    async def script() -> None:
        memory = MemoryNetwork() if transport == "memory" else None
        async with Node(NodeConfig((2,), C, memory=memory)) as c:
            told = {C: c.locals[0]} if memory is None else {}
            config = NodeConfig((1, 2, 3), A, memory=memory, peers=told)
            async with Node(config) as a:
                listener = await c.listen(80)
                at_once = await a.datagram()
                endpoint = await c.datagram(7)
                at_once.send_now(b"x", c.address, 7)
                assert (await endpoint.receive())[0] == b"x"
                stream = await a.connect(c.address, 80, 5)
                assert (await listener.accept()).network == stream.network == f"{2:016x}"

    asyncio.run(script())


def test_a_peer_that_leaves_while_it_is_sent_to() -> None:
    async def script() -> None:
        config = NodeConfig((NETWORK,), A, peers={B: ("127.0.0.1", 9)})
        async with Node(config) as a:
            endpoint = await a.datagram()
            # Nobody is there, so this waits for an answer first.
            sending = asyncio.create_task(endpoint.send(b"x", "b1b2c3d4e5", 7))
            await asyncio.sleep(0.01)
            a.leave(NETWORK)
            with pytest.raises(Unreachable):
                await sending

    asyncio.run(script())


def test_the_shape_of_the_stacks_node() -> None:
    """Whatever an application calls on one, it may call on the other with the same words."""
    of_the_stack_alone = {"service", "orbit", "deorbit", "moons", "net_report"}
    names = {name for name in dir(ztstack.Node) if not name.startswith("_")}
    for name in names - of_the_stack_alone:
        theirs, ours = getattr(ztstack.Node, name), getattr(Node, name)
        assert inspect.iscoroutinefunction(theirs) == inspect.iscoroutinefunction(ours), name
        if callable(theirs):
            wanted, found = (inspect.signature(one).parameters for one in (theirs, ours))
            assert list(wanted)[2:] == list(found)[2:], name
            assert len(wanted) == len(found), name


def test_asked_as_the_stacks_node_is(run: Callable[[Script], None]) -> None:
    async def script(a: Node, b: Node) -> None:
        await b.online()
        assert await b.refreshed(timeout=1)
        await b.join("0xcafe2002", timeout=10, wait_auth=0)
        assert await b.resolve("10.0.0.1") == a.address
        assert (await b.ping("10.0.0.1", 5)).node == a.address
        assert b.networks == ["00000000cafe2001", "00000000cafe2002"]
        with pytest.raises(NameNotResolved):
            await b.resolve("db")

    run(script)


def test_rtt_is_exact_where_the_loops_clock_is_not() -> None:
    uvloop = pytest.importorskip("uvloop")
    found: list[float] = []

    async def script(a: Node, b: Node) -> None:
        found.extend([(await b.echo(a.address, 5)).rtt_ms for _ in range(5)])

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(over("udp4", script))
    assert all(rtt > 0 for rtt in found)
    # A clock of milliseconds, and one that stands still, have few readings.
    assert len(set(found)) > 1


@pytest.mark.parametrize(
    ("bind", "error", "said"),
    [
        ((("192.0.2.1", 0),), InvalidConfig, "192.0.2.1: is no address of this machine"),
        ((("127.0.0.1", 0), ("127.0.0.2", 0)), InvalidConfig, "one address of each family"),
        ((("127.0.0.1", 0), ("2001:db8::1", 0)), InvalidConfig, "no address of this machine"),
        ((("127.0.0.1", 5), ("::1", 6)), InvalidConfig, "two UDP ports"),
        ((("localhost", 0),), InvalidConfig, "not an IP address"),
    ],
)
def test_what_cannot_be_bound(
    bind: tuple[tuple[str, int], ...], error: type[Exception], said: str
) -> None:
    """Sockets that were bound before are closed; pytest tells if one is not."""

    async def script() -> None:
        with pytest.raises(error, match=re.escape(said)):
            await Node(NodeConfig((NETWORK,), bind=bind)).start()

    asyncio.run(script())


def test_a_port_that_is_in_use() -> None:
    async def script() -> None:
        async with Node(NodeConfig((NETWORK,))) as node:
            port = node.locals[0][1]
            with pytest.raises(PortInUse, match=f"UDP port {port} on 127.0.0.1"):
                await Node(NodeConfig((NETWORK,), udp_port=port)).start()

    asyncio.run(script())


def test_addresses_have_one_spelling() -> None:
    config = NodeConfig(
        peers={A: ("0:0::1", 1), B: ("::ffff:127.0.0.1", 2)}, advertise=("FD00:0::1", 0)
    )
    assert config.peers == {A: ("::1", 1), B: ("127.0.0.1", 2)}
    assert config.advertise == ("fd00::1", 0)


def test_same_node_twice_on_one_link() -> None:
    async def script() -> None:
        config = NodeConfig((NETWORK,), A, memory=MemoryNetwork())
        async with Node(config):
            with pytest.raises(PortInUse):
                await Node(config).start()

    asyncio.run(script())


def test_a_spoilt_node_id_is_an_error_and_stays(tmp_path: Path) -> None:
    (tmp_path / "overlay.node").write_text("nonsense")
    with pytest.raises(overlay.OverlayError, match="node id"):
        asyncio.run(Node(NodeConfig((NETWORK,), state=tmp_path)).start())
    assert (tmp_path / "overlay.node").read_text() == "nonsense"
    # The directory was given back.
    (tmp_path / "overlay.node").write_text("a1b2c3d4e5\n")

    async def script() -> None:
        async with Node(NodeConfig((NETWORK,), state=tmp_path)) as node:
            assert node.address == "a1b2c3d4e5"

    asyncio.run(script())


@pytest.mark.parametrize(
    "wrong",
    [
        {"networks": (0,)},
        {"networks": (1 << 64,)},
        {"node": 1 << 40},
        {"udp_port": 70_000},
        {"advertise": ("nowhere", 1)},
        {"advertise": ("0.0.0.0", 1)},
        {"advertise": ("ff02::1", 1)},
        {"bind": (("nowhere", 1),)},
        {"peers": {A: ("127.0.0.1", 0)}},
        {"peers": {A: ("::", 1)}},
        {"peers": {0: ("127.0.0.1", 1)}},
        {"peers": {A: ("127.0.0.1", 70_000)}},
    ],
)
def test_settings_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidConfig):
        NodeConfig(**wrong)  # type: ignore[arg-type] # that is the point
