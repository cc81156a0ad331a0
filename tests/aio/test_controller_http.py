from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.switches import known_identities
from ztstack.aio import controller_http
from ztstack.aio.controller_asgi import MAX_CLIENTS
from ztstack.aio.controller_http import TOKEN_FILE, api_token
from ztstack.aio.controller_store import FileStore
from ztstack.aio.roles import ControllerService
from ztstack.aio.service import NodeConfig
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import InvalidConfig, PortInUse, StorageError
from ztstack.controller.api import MAX_BODY_BYTES

ME, A = known_identities()[:2]


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
                client.headers["X-ZT1-Auth"] = token
                status = (await client.get("/status")).json()
                assert (status["address"], status["online"]) == (str(ME.address), False)
                assert (await client.get("/controller")).json()["controller"] is True
                # As `curl -d` sends it.
                made = await client.post(
                    f"/controller/network/{ME.address}______",
                    content=b'{"name": "by a tool"}',
                    headers={"Content-Type": "application/x-www-form-urlencoded"},
                )
                network = made.json()["id"]
                assert (await client.get("/controller/network")).json() == [network]
                member = f"/controller/network/{network}/member/{A.address}"
                assert (await client.get(member)).status_code == 404
                put_in = await client.put(member, json={"authorized": True})
                assert put_in.json()["authorized"] is True
                listed = await client.get(f"/controller/network/{network}/member")
                assert listed.json() == {str(A.address): 1}
                assert (await client.delete(member)).json()["address"] == str(A.address)
                assert (await client.delete(member)).status_code == 404
                assert (await client.get("/controller/network/1")).status_code == 400
                assert (await client.get("/nowhere")).status_code == 404
                wrong = await client.delete("/controller/network")
                assert wrong.status_code == 405
                assert set(wrong.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST", "PUT"}
                long = b'"' + b"x" * MAX_BODY_BYTES + b'"'
                answer = await client.post("/controller/network", content=long)
                assert answer.status_code == 413
                document = (await client.get("/openapi.json")).json()
                assert "/controller/network/{network}/member/{member}" in document["paths"]
            assert [record.name for record in running.controller.networks()] == ["by a tool"]
            again = service(tmp_path / "other", running.api.port)
            with pytest.raises(PortInUse):
                await again.start()

    asyncio.run(run())


def test_nobody_is_served_without_the_token(tmp_path: Path) -> None:
    async def run() -> None:
        async with service(tmp_path) as running:
            assert running.api is not None
            base = f"http://127.0.0.1:{running.api.port}"
            token = (tmp_path / TOKEN_FILE).read_text()
            async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
                for path in ("/controller", "/status", "/openapi.json", "/nowhere"):
                    assert (await client.get(path)).status_code == 401
                wrong: list[dict[str, str]] = [
                    {"X-ZT1-Auth": "wrong"},
                    {"X-ZT1-Auth": ""},
                    {"Authorization": f"Basic {token}"},
                    {"Authorization": "Bearer"},
                    {"Authorization": f"Bearer x{token}"},
                ]
                for headers in wrong:
                    answer = await client.get("/controller", headers=headers)
                    assert answer.status_code == 401
                for query in ("?auth=", "?auth=wrong", f"?token={token}"):
                    assert (await client.get(f"/controller{query}")).status_code == 401
                right: list[dict[str, str]] = [
                    {"x-zt1-auth": token},
                    {"Authorization": f"Bearer {token}"},
                ]
                for headers in right:
                    answer = await client.get("/controller", headers=headers)
                    assert answer.status_code == 200
                assert (await client.get(f"/controller?auth={token}")).status_code == 200

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


def test_clients_are_bounded(tmp_path: Path) -> None:
    async def run() -> None:
        async with service(tmp_path) as running:
            assert running.api is not None
            url = f"http://127.0.0.1:{running.api.port}/controller"
            idle = [
                await asyncio.open_connection("127.0.0.1", running.api.port)
                for _ in range(MAX_CLIENTS)
            ]
            async with httpx.AsyncClient(trust_env=False) as client:
                assert (await client.get(url)).status_code == 503
            for _, writer in idle:
                writer.close()
                await writer.wait_closed()
            async with httpx.AsyncClient(trust_env=False) as client:
                status = 503
                async with asyncio.timeout(10.0):
                    while status == 503:
                        status = (await client.get(url)).status_code
                assert status == 401

    asyncio.run(run())


def test_the_token_is_kept_and_nobody_elses(tmp_path: Path) -> None:
    token = api_token(tmp_path)
    assert api_token(tmp_path) == token
    path = tmp_path / TOKEN_FILE
    path.write_text(f"  {token}\n")
    assert api_token(tmp_path) == token
    path.chmod(0o644)
    with pytest.raises(StorageError, match="chmod 600"):
        api_token(tmp_path)
    path.chmod(0o600)
    path.write_text("\n")
    assert len(api_token(tmp_path)) == 24  # An empty token would fit an empty header.


def test_without_the_libraries_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller_http, "_LIBRARIES", ("starlette", "no_such_library"))
    with pytest.raises(InvalidConfig, match=r"no_such_library.*ztstack\[controller\]"):
        service(tmp_path)


def test_who_does_not_serve_does_not_pay() -> None:
    program = (
        "import sys, ztstack, ztcli.app, ztcli.commands.controller;"
        "sys.exit(any(name in sys.modules for name in ('starlette', 'uvicorn', 'anyio')))"
    )
    done = subprocess.run([sys.executable, "-c", program], timeout=20, check=False)
    assert done.returncode == 0
