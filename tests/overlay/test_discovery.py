"""Peers: told, heard, asked for, expired; what strangers can and cannot do."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import overlay
from overlay import Node, NodeConfig, Unreachable
from overlay.discovery import MAX_ASKED_PEERS, Discovery
from overlay.messages import Datagram, Frame, Kind, Place, encode_place, frame_head
from overlay.peers import ANSWER_S, ASK_S, EXPIRY_S, MAX_ASKED, MAX_PEERS, Peers
from overlay.testing import SeededEntropy, VirtualLoop
from tests.overlay.hostile import assault

NETWORK = 0xCAFE2001
A, B, C = 0xA1B2C3D4E5, 0xB1B2C3D4E5, 0xC1B2C3D4E5
HERE, THERE = ("10.0.0.1", 1), ("10.0.0.2", 2)


def udp_place(node: Node) -> Place:
    return node.locals[0]


# The table.


def test_a_stranger_is_where_it_was_heard() -> None:
    peers = Peers()
    assert peers.heard(0, NETWORK, A, HERE, 2)
    peer = peers.get(NETWORK, A)
    assert peer is not None
    assert peer.place == HERE


def test_a_known_peer_elsewhere_must_answer_first() -> None:
    peers = Peers()
    peers.heard(0, NETWORK, A, HERE, 2)
    assert not peers.heard(1, NETWORK, A, THERE, 2)
    assert peers.ask(1, NETWORK, A, THERE, b"nonce") == b"nonce"
    assert not peers.answered(1, NETWORK, A, THERE, b"guess")
    assert not peers.answered(1, NETWORK, A, HERE, b"nonce")
    assert not peers.answered(1, NETWORK, B, THERE, b"nonce")
    assert peers.answered(1, NETWORK, A, THERE, b"nonce")
    assert not peers.answered(1, NETWORK, A, THERE, b"nonce")
    peer = peers.get(NETWORK, A)
    assert peer is not None
    assert peer.place == THERE


def test_a_told_peer_elsewhere_must_answer_first() -> None:
    peers = Peers()
    peers.tell(0, NETWORK, A, HERE, fixed=True)
    assert not peers.heard(1, NETWORK, A, THERE, 2)
    assert peers.heard(1, NETWORK, A, HERE, 2)


def test_silence() -> None:
    peers = Peers()
    peers.tell(0, NETWORK, A, HERE, fixed=True)
    peers.tell(0, NETWORK, B, THERE, fixed=False)
    peers.heard(0, NETWORK, A, HERE, 2)
    peers.heard(5, NETWORK, C, THERE, 2)
    assert peers.expire(EXPIRY_S) == []
    assert {peer.node for peer in peers.expire(EXPIRY_S + 1)} == {A, B}
    assert {peer.node for peer in peers} == {A, C}


def test_strangers_crowd_out_only_one_another() -> None:
    peers = Peers()
    peers.ask(0, NETWORK, A, HERE, b"nonce")
    peers.answered(0, NETWORK, A, HERE, b"nonce")
    for node in range(1, 2 * MAX_PEERS):
        peers.heard(0, NETWORK, node, THERE, 2)
    assert len(peers) == MAX_PEERS
    assert peers.get(NETWORK, A) is not None
    assert peers.get(NETWORK, 1) is None


def test_questions_are_bounded() -> None:
    peers = Peers()
    for node in range(1, 2 * MAX_ASKED):
        assert peers.ask(0, NETWORK, node, HERE, node.to_bytes(8, "big")) is not None
    assert not peers.answered(0, NETWORK, 1, HERE, (1).to_bytes(8, "big"))
    last = 2 * MAX_ASKED - 1
    assert peers.answered(0, NETWORK, last, HERE, last.to_bytes(8, "big"))


def test_a_repeated_question_has_the_same_answer() -> None:
    peers = Peers()
    assert peers.ask(0, NETWORK, A, HERE, b"one") == b"one"
    assert peers.ask(ASK_S / 2, NETWORK, A, HERE, b"two") is None
    assert peers.ask(ASK_S, NETWORK, A, HERE, b"three") == b"one"
    assert peers.answered(ASK_S + 1, NETWORK, A, HERE, b"one")
    peers.ask(10, NETWORK, A, HERE, b"four")
    assert not peers.answered(11 + ANSWER_S, NETWORK, A, HERE, b"four")
    assert peers.ask(20, NETWORK, A, HERE, b"five") == b"five"


class Bench:
    """A Discovery that sends to nowhere; what it sent is kept."""

    def __init__(self) -> None:
        self.sent: list[tuple[Kind, int, Place, bytes]] = []
        self.discovery = Discovery(
            SeededEntropy(1), self._emit, lambda _: None, lambda *_: None, lambda: None
        )

    def _emit(
        self, kind: Kind, network: int, node: int, place: Place, payload: bytes, version: int
    ) -> None:
        self.sent.append((kind, node, place, payload))

    def asked(self) -> list[int]:
        return [node for kind, node, _, _ in self.sent if kind is Kind.FIND]


def in_virtual_time(script: Callable[[Bench], Awaitable[None]]) -> None:
    async def main() -> None:
        await script(Bench())

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


def test_whom_we_were_told_of_is_asked_before_it_was_heard() -> None:
    """A command asks at once; its peer's first answer is still on its way then."""

    async def script(bench: Bench) -> None:
        discovery = bench.discovery
        discovery.peers.tell(0, NETWORK, A, HERE, fixed=True)
        locating = asyncio.create_task(discovery.locate([NETWORK], B))
        await asyncio.sleep(0.1)
        assert bench.asked() == [A]
        found = B.to_bytes(5, "big") + encode_place(THERE)
        discovery.receive(Frame(Kind.FOUND, NETWORK, A, 1, found), HERE)
        kind, node, place, hello = bench.sent[-1]
        assert (kind, node, place) == (Kind.HELLO, B, THERE)
        reply = hello[:8] + encode_place(None)
        discovery.receive(Frame(Kind.HELLO_REPLY, NETWORK, B, 1, reply), THERE)
        assert await locating == NETWORK
        assert discovery.place(NETWORK, B) == THERE

    in_virtual_time(script)


def test_strangers_are_asked_last() -> None:
    async def script(bench: Bench) -> None:
        peers = bench.discovery.peers
        peers.ask(0, NETWORK, B, HERE, b"nonce")
        assert peers.answered(0, NETWORK, B, HERE, b"nonce")
        peers.tell(0, NETWORK, C, HERE, fixed=True)
        for node in range(1, 100):
            peers.heard(1, NETWORK, node, THERE, 2)
        with pytest.raises(Unreachable):
            await bench.discovery.locate([NETWORK], A)
        assert bench.asked()[:2] == [B, C]
        assert len(set(bench.asked())) == MAX_ASKED_PEERS

    in_virtual_time(script)


def test_who_is_silent_where_it_should_be_is_looked_for() -> None:
    async def script(bench: Bench) -> None:
        peers = bench.discovery.peers
        peers.ask(0, NETWORK, A, HERE, b"nonce")
        peers.answered(0, NETWORK, A, HERE, b"nonce")
        peers.tell(0, NETWORK, B, THERE, fixed=True)
        locating = asyncio.create_task(bench.discovery.locate([NETWORK], B))
        await asyncio.sleep(0.9)
        assert bench.asked() == []
        await asyncio.sleep(0.2)
        assert bench.asked() == [A]
        # Nobody knows better, so what we were told has to do.
        assert await locating == NETWORK

    in_virtual_time(script)


def test_a_short_word_is_not_answered_at_length() -> None:
    """Whoever forges addresses gets us to send about as much as it sends itself."""

    async def script(bench: Bench) -> None:
        said = 0
        for node in range(1, 1000):
            payload = Datagram(1, 2, b"").encode()
            said += len(payload)
            bench.discovery.heard(Frame(Kind.DATAGRAM, NETWORK, node, A, payload), THERE)
            await asyncio.sleep(0.001)
        assert 0 < sum(len(payload) for _, _, _, payload in bench.sent) < said
        bench.sent.clear()
        question = bytes(64)
        for node in range(2000, 2010):
            bench.discovery.receive(Frame(Kind.HELLO, NETWORK, node, A, question), THERE)
        kinds = [kind for kind, _, _, _ in bench.sent]
        assert kinds == [Kind.HELLO, Kind.HELLO_REPLY] * 10

    in_virtual_time(script)


# Whole nodes.


def test_others_are_asked_where_a_node_is() -> None:
    async def script() -> None:
        async with Node(NodeConfig((NETWORK,), A)) as a:
            told = {A: udp_place(a)}
            async with (
                Node(NodeConfig((NETWORK,), B, peers=told)) as b,
                Node(NodeConfig((NETWORK,), C, peers=told)) as c,
            ):
                await b.echo(a.address)
                await c.echo(a.address)
                listener = await b.listen(80)
                stream = await c.connect(b.address, 80, 5)
                server = await listener.accept()
                await stream.send(b"found")
                assert await server.receive() == b"found"
                assert [peer.place for peer in c.status().peers if peer.node == b.address] == [
                    udp_place(b)
                ]
                with pytest.raises(Unreachable):
                    await c.connect("0000000001", 80, 5)

    asyncio.run(script())


def test_who_left_a_link_in_memory_is_nowhere() -> None:
    async def script() -> None:
        link = overlay.MemoryNetwork()
        loop, errors = asyncio.get_running_loop(), list[object]()
        loop.set_exception_handler(lambda _, context: errors.append(context))
        async with (
            Node(NodeConfig((NETWORK,), A, memory=link)) as a,
            Node(NodeConfig((NETWORK,), B, memory=link)) as b,
        ):
            async with Node(NodeConfig((NETWORK,), C, memory=link)) as c:
                await c.echo(a.address)
                await a.echo(c.address)
            await b.echo(a.address)
            # It is asked where the third one is; on such a link there are no addresses to tell.
            with pytest.raises(Unreachable):
                await b.connect("c1b2c3d4e5", 80, 5)
            assert b.status().drops == a.status().drops == {}
            # And what somebody tells of an address is no place on it.
            found = C.to_bytes(5, "big") + encode_place(("10.0.0.1", 9))
            asking = asyncio.create_task(b.connect("c1b2c3d4e5", 80, 5))
            await asyncio.sleep(0.1)
            link.carry(A, B, frame_head(Kind.FOUND, NETWORK, A, B) + found)
            with pytest.raises(Unreachable):
                await asking
        assert errors == []

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(script())


def test_what_is_advertised_is_told_to_others() -> None:
    async def script() -> None:
        async with Node(NodeConfig((NETWORK,), A)) as a:
            told = {A: udp_place(a)}
            other = NodeConfig((NETWORK,), B, peers=told, advertise=("127.0.0.1", 0))
            async with Node(other) as b:
                await b.echo(a.address)
                await a.echo(b.address)
                (peer,) = a.status().peers
                assert peer.sent_bytes > 64
                assert peer.received_bytes > 64
                assert peer.advertised == ("127.0.0.1", udp_place(b)[1])

    asyncio.run(script())


def test_peers_are_remembered(tmp_path: Path) -> None:
    events: list[str] = []

    async def script() -> None:
        async with Node(NodeConfig((NETWORK,), A)) as a:
            config = NodeConfig((NETWORK,), state=tmp_path, peers={A: udp_place(a)})
            async with Node(config) as b:
                await b.echo(a.address)
            again = NodeConfig(
                (NETWORK,),
                state=tmp_path,
                on_event=lambda event: events.append(f"{event.kind} {event.peer}".strip()),
            )
            async with Node(again) as b:
                stream = b.connect(a.address, 80, 5)
                with pytest.raises(overlay.ConnectRefused):
                    await stream
            await asyncio.sleep(0)

    asyncio.run(script())
    assert events == ["started", "joined", "peer-found a1b2c3d4e5", "stopped"]
    (line,) = (tmp_path / "peers.d" / "00000000cafe2001").read_text().splitlines()
    assert line.startswith("a1b2c3d4e5 127.0.0.1 ")


def test_peers_expire() -> None:
    async def script() -> None:
        link = overlay.MemoryNetwork()
        lost: list[overlay.Event] = []
        a = Node(NodeConfig((NETWORK,), A, memory=link, on_event=lost.append))
        async with a:
            async with Node(NodeConfig((NETWORK,), B, memory=link)) as b:
                await b.echo(a.address)
                await asyncio.sleep(10 * EXPIRY_S)
                assert len(a.status().peers) == 1
            await asyncio.sleep(EXPIRY_S + 10)
            assert a.status().peers == ()
        kinds = [event.kind.value for event in lost]
        assert kinds == ["started", "joined", "peer-found", "peer-lost"]

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(script())


def with_socket(
    script: Callable[[Node, socket.socket, Place], Awaitable[None]],
) -> None:
    async def main() -> None:
        async with Node(NodeConfig((NETWORK,), A)) as node:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind(("127.0.0.1", 0))
                sock.settimeout(5)
                await script(node, sock, udp_place(node))

    asyncio.run(main())


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came to hold")


async def receive(sock: socket.socket) -> bytes:
    return await asyncio.to_thread(sock.recv, 65536)


def test_version_1_is_answered_in_version_1() -> None:
    async def script(node: Node, sock: socket.socket, place: Place) -> None:
        endpoint = await node.datagram(9000)
        hello = frame_head(Kind.HELLO, NETWORK, B, A, 1) + b"127.0.0.1 9"
        sock.sendto(hello, place)
        reply = Frame.decode(await receive(sock))
        assert (reply.kind, reply.version, reply.source) == (Kind.HELLO_REPLY, 1, A)
        # Destination 0 is whoever gets it.
        to_all = frame_head(Kind.DATAGRAM, NETWORK, B, 0, 1) + Datagram(7, 9000, b"hi").encode()
        sock.sendto(to_all, place)
        data, (host, port), _ = await endpoint.receive()
        assert (data, host, port) == (b"hi", "b1b2c3d4e5", 7)
        await endpoint.send(b"ho", host, port)
        answer = Frame.decode(await receive(sock))
        assert (answer.kind, answer.version) == (Kind.DATAGRAM, 1)
        assert Datagram.decode(answer.payload) == Datagram(9000, 7, b"ho")

    with_socket(script)


def test_no_answer_is_longer_than_its_question() -> None:
    async def script(node: Node, sock: socket.socket, place: Place) -> None:
        hello = frame_head(Kind.HELLO, NETWORK, B, A) + bytes(64)
        sock.sendto(hello, place)
        replies = [await receive(sock), await receive(sock)]
        assert {Frame.decode(reply).kind for reply in replies} == {Kind.HELLO, Kind.HELLO_REPLY}
        assert all(len(reply) <= len(hello) for reply in replies)
        sock.sendto(hello[:-1], place)
        await until(lambda: "malformed" in node.status().drops)

    with_socket(script)


def test_frames_of_others_are_dropped() -> None:
    async def script(node: Node, sock: socket.socket, place: Place) -> None:
        for network, source, destination in ((1, B, A), (NETWORK, B, C), (NETWORK, A, A)):
            sock.sendto(frame_head(Kind.HELLO, network, source, destination) + bytes(64), place)
        await until(lambda: sum(node.status().drops.values()) == 3)
        assert node.status().drops == {"another network": 1, "not for us": 1, "from self": 1}
        assert node.status().peers == ()

    with_socket(script)


def test_whoever_forges_a_source_gets_nothing_of_its_traffic() -> None:
    async def script(node: Node, sock: socket.socket, place: Place) -> None:
        config = NodeConfig((NETWORK,), B, peers={A: place})
        async with Node(config) as honest:
            await honest.echo(node.address)
            own = await node.datagram(9000)
            endpoint = await honest.datagram(9000)
            forged = frame_head(Kind.DATAGRAM, NETWORK, B, A) + Datagram(1, 9000, b"x").encode()
            sock.sendto(forged, place)
            # It is asked whether it is there, and cannot answer for the real one's traffic.
            assert Frame.decode(await receive(sock)).kind is Kind.HELLO
            await own.send(b"secret", honest.address, 9000)
            assert (await endpoint.receive())[0] == b"secret"
            assert node.status().drops == {"from another place": 1}

    with_socket(script)


def test_loopback_unless_told_otherwise() -> None:
    async def script() -> None:
        async with Node(NodeConfig((NETWORK,))) as node:
            assert {host for host, _ in node.locals} <= {"127.0.0.1", "::1"}
            assert len({port for _, port in node.locals}) == 1
        async with Node(NodeConfig((NETWORK,), bind=(("0.0.0.0", 0),))) as node:
            assert [host for host, _ in node.locals] == ["0.0.0.0"]

    asyncio.run(script())


def test_hostile_frames(tmp_path: Path) -> None:
    """A small share of what `python -m tests.overlay.hostile` throws."""
    report = asyncio.run(assault(20_000, 7, tmp_path))
    assert report.errors == []
    assert report.peers <= MAX_PEERS
    assert report.connections <= 256
    assert report.drops["malformed"] > 1000
    # No stranger answered a question, so nothing was written about any.
    assert list((tmp_path / "peers.d").iterdir()) == []


@pytest.mark.parametrize("meets", [True, False])
def test_stopping_with_a_question_open(meets: bool) -> None:
    async def script() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            silent.settimeout(5)
            peers = {B: silent.getsockname()}
            async with Node(NodeConfig((NETWORK,), A, peers=peers)) as node:
                if not meets:
                    hello = frame_head(Kind.HELLO, NETWORK, B, A) + bytes(64)
                    silent.sendto(hello, udp_place(node))
                    await until(lambda: node.status().peers[0].seen_s is not None)
                asking = asyncio.create_task(node.echo("b1b2c3d4e5", None))
                await receive(silent)
                await asyncio.sleep(0)
            with pytest.raises(overlay.Closed):
                await asking

    asyncio.run(script())
