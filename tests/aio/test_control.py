from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.switches import known_identities
from ztstack.aio.control import ask_controller
from ztstack.aio.controller_store import FileStore
from ztstack.aio.roles import ControllerService
from ztstack.aio.service import NodeConfig
from ztstack.aio.storage import write_atomically
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import StorageError

ME = known_identities()[0]
NETWORKS = "/controller/network"


def service(state: Path) -> ControllerService:
    write_atomically(state / "identity.secret", ME.secret_text().encode())
    config = NodeConfig(
        state=state,
        bind=(Endpoint(bytes((127, 0, 0, 1)), 0),),
        controller=FileStore(state / "controller.d"),
    )
    return ControllerService(config, state)


async def raw(state: Path, *lines: bytes) -> list[Any]:
    """Send lines to a control socket; return what it answers to each."""
    reader, writer = await asyncio.open_unix_connection(state / "controller.sock")
    answers = []
    for line in lines:
        writer.write(line + b"\n")
        answers.append(json.loads(await reader.readline()))
    writer.close()
    await writer.wait_closed()
    return answers


def test_the_same_answers_whether_it_runs_or_not(tmp_path: Path) -> None:
    async def run() -> None:
        async with service(tmp_path):
            status, made = await ask_controller(tmp_path, "POST", NETWORKS, {"name": "one"})
            assert status == 200
            assert isinstance(made, dict)
            path = f"{NETWORKS}/{made['id']}"
            running = [await ask_controller(tmp_path, "GET", p) for p in (path, NETWORKS, "/x")]
            assert (tmp_path / "controller.sock").stat().st_mode & 0o777 == 0o600
        assert not (tmp_path / "controller.sock").exists()
        stopped = [await ask_controller(tmp_path, "GET", p) for p in (path, NETWORKS, "/x")]
        assert running == stopped
        assert [status for status, _ in running] == [200, 200, 404]
        changed = await ask_controller(tmp_path, "POST", path, {"mtu": "large"})
        assert changed == (400, {"error": "mtu: a whole number is needed"})

    asyncio.run(run())


def test_a_bad_request_is_answered_and_changes_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        async with service(tmp_path) as running:
            answers = await raw(
                tmp_path,
                b"",
                b"[]",
                b"{}",
                b"\xff",
                b"[" * 100_000,
                b'{"method": 1, "path": "/controller"}',
                b'{"method": "POST", "path": "/controller/network", "body": [1]}',
            )
            assert [answer["status"] for answer in answers] == [400] * 7
            assert running.controller.networks() == []

    asyncio.run(run())


@pytest.mark.parametrize("content", [None, "not a controller"])
def test_where_there_is_no_controller(tmp_path: Path, content: str | None) -> None:
    state = tmp_path / "state"
    if content is not None:
        state.mkdir()
        (state / "file").write_text(content)
    with pytest.raises(StorageError, match="zt controller run"):
        asyncio.run(ask_controller(state, "GET", NETWORKS))


def test_what_a_killed_controller_left_behind_is_no_controller(tmp_path: Path) -> None:
    async def run() -> None:
        async with service(tmp_path):
            pass
        (tmp_path / "controller.sock").touch()
        assert await ask_controller(tmp_path, "GET", NETWORKS) == (200, [])

    asyncio.run(run())
