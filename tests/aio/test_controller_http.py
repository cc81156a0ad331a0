from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.support.switches import known_identities
from ztstack.aio.controller_http import TOKEN_FILE
from ztstack.aio.controller_store import FileStore
from ztstack.aio.roles import ControllerService
from ztstack.aio.service import NodeConfig
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import PortInUse

ME = known_identities()[0]


def service(state: Path, port: int = 0) -> ControllerService:
    config = NodeConfig(
        state=state,
        identity=ME,
        bind=(Endpoint(bytes((127, 0, 0, 1)), 0),),
        controller=FileStore(state / "controller.d"),
    )
    return ControllerService(config, state, api_port=port)


def test_a_tool_talks_to_the_controller(tmp_path: Path) -> None:
    async def run() -> None:
        async with service(tmp_path) as running:
            assert running.api is not None
            base = f"http://127.0.0.1:{running.api.port}"
            path = tmp_path / TOKEN_FILE
            assert path.stat().st_mode & 0o777 == 0o600
            token = path.read_text()
            async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
                assert (await client.get("/controller")).status_code == 401
                wrong = {"X-ZT1-Auth": "wrong"}
                assert (await client.get("/controller", headers=wrong)).status_code == 401
                client.headers["X-ZT1-Auth"] = token
                assert (await client.get("/controller")).json()["controller"] is True
                made = await client.post("/controller/network", json={"name": "by a tool"})
                network = made.json()["id"]
                assert (await client.get("/controller/network")).json() == [network]
                assert (await client.get("/controller/network/1")).status_code == 400
            assert [record.name for record in running.controller.networks()] == ["by a tool"]
            again = service(tmp_path / "other", running.api.port)
            with pytest.raises(PortInUse):
                await again.start()

    asyncio.run(run())


def test_garbage_ends_the_connection_and_nothing_else(tmp_path: Path) -> None:
    async def run() -> None:
        async with service(tmp_path) as running:
            assert running.api is not None
            for data in (b"\x00\x01garbage\r\n\r\n", b"GET / HTTP/1.1\r\n", b""):
                reader, writer = await asyncio.open_connection("127.0.0.1", running.api.port)
                writer.write(data)
                writer.write_eof()
                assert b"200" not in await reader.read()
                writer.close()
                await writer.wait_closed()
            async with httpx.AsyncClient(trust_env=False) as client:
                answer = await client.get(f"http://127.0.0.1:{running.api.port}/controller")
                assert answer.status_code == 401

    asyncio.run(run())
