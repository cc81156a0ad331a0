"""HTTP libraries over two nodes of a lab: httpx, requests and aiohttp ask a served application."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
import requests

import ztstack
from tests.support.loopback import BlockingLab, tls_for

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

BIG = 3_000_000


class Application:
    """Answers with what it was asked; /big streams, /slow never answers."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []
        self.events: list[str] = []

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                kind = (await receive())["type"]
                self.events.append(kind)
                await send({"type": f"{kind}.complete"})
            return
        self.scopes.append(scope)
        if scope["path"] == "/slow":
            await asyncio.Event().wait()
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/big":
            for _ in range(BIG // 100_000):
                await send(
                    {"type": "http.response.body", "body": bytes(100_000), "more_body": True}
                )
        answer = f"{scope['method']} {scope['path']} ".encode() + body
        await send({"type": "http.response.body", "body": b"" if body == b"-" else answer})


class Site:
    """Bob serves the application, plain and with TLS; Alice asks."""

    def __init__(self, lab: BlockingLab, folder: Path) -> None:
        self.lab = lab
        self.app = Application()
        self.tls = tls_for(folder, lab.bob_ip)
        self._tasks = [self._serve(None), self._serve(self.tls.server)]
        self.ports = [task[1] for task in self._tasks]
        self.http = f"http://{lab.bob_ip}:{self.ports[0]}"
        self.https = f"https://{lab.bob_ip}:{self.ports[1]}"

    def _serve(self, context: ssl.SSLContext | None) -> tuple[asyncio.Task[None], int]:
        async def begin() -> tuple[asyncio.Task[None], int]:
            ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(
                self.lab.bob.node.serve_asgi(
                    self.app, 0, ssl=context, ready=lambda server: ready.set_result(server.port),
                    timeout_graceful_shutdown=1,
                )
            )  # fmt: skip
            return task, await ready

        return self.lab.bob.run(begin())

    def stop(self) -> None:
        async def end() -> None:
            for task, _ in self._tasks:
                task.cancel()
            await asyncio.wait([task for task, _ in self._tasks])

        self.lab.bob.run(end())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with BlockingLab(tmp_path_factory.mktemp("lab")) as lab:
        made = Site(lab, tmp_path_factory.mktemp("tls"))
        try:
            yield made
        finally:
            made.stop()
        assert made.app.events == ["lifespan.startup"] * 2 + ["lifespan.shutdown"] * 2


@pytest.fixture(autouse=True)
def nothing_leaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither names nor requests may leave the network."""

    def leak(*question: object) -> None:
        raise AssertionError(f"the system was asked: {question}")

    monkeypatch.setattr("socket.getaddrinfo", leak)
    monkeypatch.setattr("socket.socket.connect", leak)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://203.0.113.1:1")


def on_loop(site: Site, body: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(15):
            await body()

    site.lab.alice.run(limited())


def test_httpx(site: Site) -> None:
    async def body() -> None:
        node = site.lab.alice.node
        async with httpx.AsyncClient(transport=node.httpx_transport(verify=site.tls.client)) as web:
            assert (await web.get(f"{site.http}/a")).text == "GET /a "
            assert (await web.post(f"{site.http}/b", content=bytes(BIG))).content.endswith(bytes(9))
            assert len(site.app.scopes) == 2
            # The second request came on the connection of the first.
            assert site.app.scopes[0]["client"] == site.app.scopes[1]["client"]
            assert site.app.scopes[0]["client"][0] == site.lab.alice_ip
            assert (await web.get(f"{site.https}/c")).text == "GET /c "
            async with web.stream("POST", f"{site.https}/big", content=b"-") as answer:
                assert sum([len(part) async for part in answer.aiter_bytes()]) == BIG
            with pytest.raises(httpx.ReadTimeout):
                await web.get(f"{site.http}/slow", timeout=0.05)
            with pytest.raises(httpx.ConnectError, match="refused"):
                await web.get(f"http://{site.lab.bob_ip}:1/")
            with pytest.raises(httpx.ConnectError, match="cannot be resolved"):
                await web.get("http://db.lab/")
        async with httpx.AsyncClient(transport=node.httpx_transport()) as web:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await web.get(f"{site.https}/")

    site.app.scopes.clear()
    on_loop(site, body)


def test_httpx_by_node_id(site: Site) -> None:
    with httpx.Client(transport=site.lab.alice.httpx_transport()) as web:
        assert web.get(f"http://{site.lab.bob.address}.zt:{site.ports[0]}/").text == "GET / "
    assert ":" in site.app.scopes[-1]["client"][0]


def test_httpx_blocking(site: Site) -> None:
    transport = site.lab.alice.httpx_transport(verify=site.tls.client)
    with httpx.Client(transport=transport) as web:
        assert web.get(f"{site.http}/a").text == "GET /a "
        assert web.get(f"{site.https}/a").text == "GET /a "
        assert len(web.post(f"{site.https}/big", content=b"-").content) == BIG
        with pytest.raises(httpx.ReadTimeout):
            web.get(f"{site.http}/slow", timeout=0.05)
        with pytest.raises(httpx.ConnectError, match="refused"):
            web.get(f"http://{site.lab.bob_ip}:1/")


def test_requests(site: Site) -> None:
    with requests.Session() as session:
        adapter = site.lab.alice.requests_adapter()
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        site.app.scopes.clear()
        assert session.get(f"{site.http}/a").text == "GET /a "
        assert session.post(f"{site.http}/b", data=b"x" * BIG).text.endswith("xx")
        assert site.app.scopes[0]["client"] == site.app.scopes[1]["client"]
        with pytest.raises(requests.exceptions.SSLError):
            session.get(f"{site.https}/")
        trusted = str(site.tls.cert)
        assert session.get(f"{site.https}/c", verify=trusted).text == "GET /c "
        assert len(session.post(f"{site.https}/big", b"-", verify=trusted).content) == BIG
        with pytest.raises(requests.exceptions.SSLError):
            session.get(f"{site.https}/")  # What was trusted once is not trusted for ever.
        with pytest.raises(requests.exceptions.SSLError):
            session.get(f"https://{site.lab.bob.address}:{site.ports[1]}/", verify=trusted)
        with pytest.warns(Warning, match="Unverified"):
            assert session.get(f"{site.https}/d", verify=False).text == "GET /d "
        with pytest.raises(requests.exceptions.ReadTimeout):
            session.get(f"{site.http}/slow", timeout=0.05)
        with pytest.raises(requests.exceptions.ConnectionError, match="refused"):
            session.get(f"http://{site.lab.bob_ip}:1/")
        with pytest.raises(requests.exceptions.ConnectionError, match="cannot be resolved"):
            session.get("http://db.lab/")


def test_aiohttp(site: Site) -> None:
    async def body() -> None:
        connector = site.lab.alice.node.aiohttp_connector()
        async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
            site.app.scopes.clear()
            for path in ("/a", "/b"):
                async with session.get(f"{site.http}{path}") as answer:
                    assert await answer.text() == f"GET {path} "
            assert site.app.scopes[0]["client"] == site.app.scopes[1]["client"]
            async with session.post(f"{site.https}/big", data=b"-", ssl=site.tls.client) as answer:
                assert len(await answer.read()) == BIG
            async with session.get(f"http://{site.lab.bob.address}:{site.ports[0]}/c") as answer:
                assert await answer.text() == "GET /c "
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await session.get(f"{site.https}/")
            with pytest.raises(aiohttp.ClientConnectorError, match="refused"):
                await session.get(f"http://{site.lab.bob_ip}:1/")
            with pytest.raises(aiohttp.ClientConnectorError, match="cannot be resolved"):
                await session.get("http://db.lab/")
            with pytest.raises(TimeoutError):
                await session.get(f"{site.http}/slow", timeout=aiohttp.ClientTimeout(0.05))

    on_loop(site, body)


def test_an_application_that_does_not_start(site: Site) -> None:
    async def broken(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    async def body() -> None:
        with pytest.raises(RuntimeError, match="did not start"):
            await site.lab.bob.node.serve_asgi(broken, 0)

    on_loop(site, body)


@pytest.mark.parametrize(
    ("module", "missing", "extra"),
    [
        ("requests_adapter", "requests", "requests"),
        ("aiohttp_connector", "aiohttp", "aiohttp"),
        ("asgi", "uvicorn", "asgi"),
    ],
)
def test_missing_libraries(
    site: Site, monkeypatch: pytest.MonkeyPatch, module: str, missing: str, extra: str
) -> None:
    monkeypatch.delitem(sys.modules, f"ztstack.integrations.{module}", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)

    async def body() -> None:
        node = site.lab.alice.node
        if extra == "aiohttp":
            node.aiohttp_connector()
        await node.serve_asgi(site.app, 0)

    def ask() -> None:
        if extra == "requests":
            site.lab.alice.requests_adapter()
        on_loop(site, body)

    with pytest.raises(ztstack.MissingExtra, match=rf"'ztstack\[{extra}\]'") as caught:
        ask()
    assert isinstance(caught.value, ImportError)
