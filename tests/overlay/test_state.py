"""The state directory: networks, peers that are silent for a while, files that are none."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import overlay
from overlay import Node, NodeConfig
from overlay.errors import StorageError
from overlay.state import MAX_LINES, State

NETWORK = 0xCAFE2001
A, B = 0xA1B2C3D4E5, 0xB1B2C3D4E5
HERE, THERE = ("127.0.0.1", 1), ("::1", 2)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    state = State(tmp_path)
    state.open()
    yield state
    state.close()


def peers_file(folder: Path) -> Path:
    return folder / "peers.d" / f"{NETWORK:016x}"


def test_a_peer_that_is_silent_today_is_not_forgotten(state: State, tmp_path: Path) -> None:
    yesterday = int(time.time()) - 24 * 3600
    peers_file(tmp_path).write_text(f"a1b2c3d4e5 127.0.0.1 1 {yesterday}\n")
    assert state.load_peers(NETWORK) == [(A, HERE)]
    state.save_peers(NETWORK, [(B, THERE)])
    first, second = peers_file(tmp_path).read_text().splitlines()
    assert first == f"a1b2c3d4e5 127.0.0.1 1 {yesterday}"
    assert second.startswith("b1b2c3d4e5 ::1 2 ")
    state.save_peers(NETWORK, [(A, THERE)])
    assert sorted(State(tmp_path).load_peers(NETWORK)) == [(A, THERE), (B, THERE)]


def test_nothing_is_written_without_news(state: State, tmp_path: Path) -> None:
    state.load_peers(NETWORK)
    state.save_peers(NETWORK, [])
    assert not peers_file(tmp_path).exists()
    state.save_peers(NETWORK, [(A, HERE)])
    peers_file(tmp_path).unlink()
    state.save_peers(NETWORK, [(A, HERE)])
    assert not peers_file(tmp_path).exists()


def test_lines_that_are_none(state: State, tmp_path: Path) -> None:
    now = int(time.time())
    wrong = [
        f"nobody 127.0.0.1 1 {now}",
        f"0000000000 127.0.0.1 1 {now}",
        f"a1b2c3d4e5 nowhere 1 {now}",
        f"a1b2c3d4e5 127.0.0.1 0 {now}",
        f"a1b2c3d4e5 127.0.0.1 65536 {now}",
        f"a1b2c3d4e5 0.0.0.0 1 {now}",
        f"a1b2c3d4e5 224.0.0.1 1 {now}",
        f"a1b2c3d4e5 127.0.0.1 1 {now - 31 * 24 * 3600}",
        "a1b2c3d4e5 127.0.0.1 1 soon",
        "a1b2c3d4e5 127.0.0.1 1",
    ]
    good = f"b1b2c3d4e5 ::1 2 {now}"
    peers_file(tmp_path).write_bytes("\n".join([*wrong, good]).encode() + b"\n\xff\x00\n")
    assert state.load_peers(NETWORK) == [(B, THERE)]


def test_peers_are_bounded_and_the_newest_stay(state: State, tmp_path: Path) -> None:
    yesterday = int(time.time()) - 24 * 3600
    peers_file(tmp_path).write_text(f"a1b2c3d4e5 127.0.0.1 1 {yesterday}\n")
    state.load_peers(NETWORK)
    state.save_peers(NETWORK, [(node, HERE) for node in range(1, MAX_LINES + 1)])
    assert len(peers_file(tmp_path).read_text().splitlines()) == MAX_LINES
    assert A not in dict(State(tmp_path).load_peers(NETWORK))


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    first = State(tmp_path)
    first.open()
    first.load_node()
    first.add_network(NETWORK)
    first.close()
    left = (
        tmp_path / ".overlay.node.abc",
        tmp_path / "networks.d" / ".00000000cafe2001.overlay.abc",
        tmp_path / "peers.d" / ".00000000cafe2001.abc",
    )
    for path in left:
        path.write_bytes(b"half")
    second = State(tmp_path)
    second.open()
    assert not any(path.exists() for path in left)
    assert second.networks() == [NETWORK]
    second.close()


def test_kept_networks(tmp_path: Path) -> None:
    assert overlay.kept_networks(tmp_path / "none") == []

    async def script() -> None:
        async with Node(state=tmp_path) as node:
            await node.join(NETWORK)
            await node.join(7)
            with pytest.raises(overlay.StateInUse):
                overlay.forget_network(tmp_path, 7)

    asyncio.run(script())
    for name in ("nonsense.overlay", "0.overlay", "8056c2e21c000001.conf"):
        (tmp_path / "networks.d" / name).write_bytes(b"")
    assert overlay.kept_networks(tmp_path) == [7, NETWORK]
    assert overlay.forget_network(tmp_path, 7)
    assert not overlay.forget_network(tmp_path, 7)
    assert overlay.kept_networks(tmp_path) == [NETWORK]


def test_a_failed_start_gives_everything_back(tmp_path: Path) -> None:
    events: list[str] = []
    config = NodeConfig(
        (NETWORK,), state=tmp_path, on_event=lambda event: events.append(event.kind.value)
    )

    async def script() -> None:
        node = Node(config)
        peers_file(tmp_path).mkdir(parents=True)
        with pytest.raises(StorageError, match=r"peers\.d"):
            await node.start()
        assert not node.is_running
        peers_file(tmp_path).rmdir()
        async with node:
            assert node.networks == [f"{NETWORK:016x}"]

    asyncio.run(script())
    assert events == ["started", "stopped", "started", "joined", "stopped"]


def test_a_disk_that_takes_nothing_stops_nobody(tmp_path: Path) -> None:
    async def script() -> None:
        async with Node(NodeConfig((NETWORK,), A)) as a:
            config = NodeConfig((NETWORK,), B, state=tmp_path, peers={A: a.locals[0]})
            b = Node(config)
            await b.start()
            peers_file(tmp_path).mkdir()
            await b.echo(a.address)
            await b.stop()
            assert b.drops["peers that were not saved"] >= 1
            peers_file(tmp_path).rmdir()
            async with b:
                await b.echo(a.address)
        assert peers_file(tmp_path).read_text().startswith("a1b2c3d4e5 ")

    asyncio.run(script())


def test_a_stranger_that_answered_is_kept(tmp_path: Path) -> None:
    async def script() -> None:
        async with Node(NodeConfig((NETWORK,), A, state=tmp_path)) as a:
            config = NodeConfig((NETWORK,), B, peers={A: a.locals[0]})
            async with Node(config) as b:
                await b.echo(a.address)
                await a.echo(b.address)
        assert peers_file(tmp_path).read_text().startswith("b1b2c3d4e5 ")

    asyncio.run(script())


def test_files_are_for_their_owner(tmp_path: Path) -> None:
    async def script() -> None:
        async with Node(NodeConfig((NETWORK,), state=tmp_path / "new")):
            pass

    asyncio.run(script())
    if os.name == "posix":
        for path in (tmp_path / "new").rglob("*"):
            if path.name != "lock":
                assert path.stat().st_mode & 0o077 == 0
