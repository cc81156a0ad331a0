"""Every Python block of the pages runs, in a lab where somebody answers."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

import ztstack
from tests.support.loopback import BlockingLab
from tests.support.vl2 import ALICE, BOB, CONTROLLER, ROOT
from ztstack.aio.storage import Storage
from ztstack.testing import lab as lab_module
from ztstack.testing.factory import LabFactory

TOP = Path(__file__).parents[2]
PAGE = TOP / "docs" / "python.md"


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


BLOCKS = blocks(PAGE)
ELSEWHERE = {"README.md": 1, "simulation.md": 1, "overlay.md": 1}
"""How many blocks other pages have; overlay.md's is run in tests/overlay."""

Send = Callable[[dict[str, Any]], Awaitable[None]]


async def application(scope: dict[str, Any], receive: object, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"served"})


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """What the page says its examples leave open."""
    state = tmp_path_factory.mktemp("state")
    storage = Storage(state)
    storage.open()
    storage.save_identity(CONTROLLER)
    storage.close()
    with BlockingLab(tmp_path_factory.mktemp("lab")) as lab:
        bob = lab.bob.node

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.read())
            writer.close()

        async def serve() -> asyncio.Task[None]:
            await bob.start_server(echo, port=7)
            ready = asyncio.Event()
            task = asyncio.create_task(
                bob.serve_asgi(application, 8000, ready=lambda _: ready.set(), lifespan="off")
            )
            await ready.wait()
            return task

        async def end() -> None:
            task.cancel()
            await asyncio.wait((task,))

        task = lab.bob.run(serve())
        yield {
            "network": str(lab.config.networks[0]),
            "planet": lab.config.planet,
            "state": state,
            "host": lab.bob_ip,
            "bob": lab.bob,
        }
        lab.bob.run(end())


@pytest.mark.timeout(60)
@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_block(
    block: str,
    names: dict[str, object],
    zt_lab: LabFactory,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # To make identities takes long.
    monkeypatch.setattr(lab_module, "_identities", [ROOT, ALICE, BOB, CONTROLLER])
    scope = dict(names, __name__="example")
    exec(compile(block, str(PAGE), "exec"), scope)
    said = capsys.readouterr().out
    if "test_service" in scope:
        scope["test_service"](zt_lab)  # type: ignore[operator] # the block's function
        asyncio.run(scope["asynchronous"](zt_lab))  # type: ignore[operator] # the block's function
    for written, answer in ANSWERS.items():
        if written in block:
            assert answer in said


ANSWERS = {
    ":8000/": "served\n" * 2,
    "PING": "PING",
    "makefile": "more\n",
    "async def upper": " True 2\n",
    "node.orbit": "UDP works\n",
    "wait_sent": "b'hello' b''\n",
    "join_group": "b'to all'",
    "getpeercert": "SSL",
    "asyncssh": "uname was run\n",
}
"""What blocks print that have these words."""

SESSION = """
import asyncio, httpx, ztstack
async def main():
    async with ztstack.Node(network="8056c2e21c000001") as node:
        r, w = await node.open_connection("10.121.15.99", 6379)
        w.write(b"PING\\r\\n"); w.write_eof()
        print(await r.read())
        async with httpx.AsyncClient(transport=node.httpx_transport()) as http:
            print((await http.get("http://10.121.15.99:5380/")).text)
        await node.serve_asgi(app, port=80)
asyncio.run(main())
"""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("block", [*blocks(TOP / "README.md"), SESSION], ids=["README", "short"])
def test_session(
    block: str,
    names: dict[str, object],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It serves until it is cancelled; the rest of it has been done by then."""
    for written, real in (
        ("8056c2e21c000001", str(names["network"])),
        ("10.147.20.7", str(names["host"])),
        ("10.121.15.99", str(names["host"])),
        ("6379", "7"),
        ("5380", "8000"),
        ("127.0.0.1:5432", "127.0.0.1:0"),
        ("asyncio.run(main())", ""),
    ):
        block = block.replace(written, real)
    monkeypatch.chdir(tmp_path)
    state = Storage(Path("state"))
    state.open()
    state.save_identity(CONTROLLER)
    state.close()
    planet = names["planet"]
    assert isinstance(planet, bytes)
    Path("state/planet").write_bytes(planet)
    monkeypatch.setattr(ztstack, "Node", partial(ztstack.Node, state=Path("state")))
    bob = names["bob"]
    assert isinstance(bob, ztstack.BlockingNode)
    scope: dict[str, Any] = {"__name__": "example", "app": application}
    exec(compile(block, "README.md", "exec"), scope)

    async def run() -> None:
        session = asyncio.create_task(scope["main"]())
        answering = asyncio.create_task(asyncio.to_thread(ask, bob))
        await asyncio.wait((session, answering), return_when=asyncio.FIRST_COMPLETED)
        assert not session.done(), session.exception()
        session.cancel()
        assert await answering == "served"
        await asyncio.wait((session,))

    asyncio.run(run())
    assert capsys.readouterr().out == "b'PING\\r\\n'\nserved\n"


def ask(bob: ztstack.BlockingNode) -> str:
    """Fetch what the session serves, as soon as it does."""
    with httpx.Client(transport=bob.httpx_transport()) as client:
        for _ in range(100):
            with contextlib.suppress(httpx.ConnectError):
                return client.get(f"http://{CONTROLLER.address}/").text
            time.sleep(0.1)
    return "nobody answered"


def test_every_exception_is_explained() -> None:
    """The table names each of them, and what it is for the rest of Python."""
    rows = re.findall(r"^\| (`[A-Z].*?) \| `(\w+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    told = {name: kind for names, kind in rows for name in re.findall(r"`(\w+)`", names)}
    public = {name: getattr(ztstack, name) for name in ztstack.__all__}
    errors = {
        name: kind
        for name, kind in public.items()
        if isinstance(kind, type) and issubclass(kind, Exception)
    }
    assert {*told, "ZtError", "LocalError", "RemoteError"} == set(errors)
    for name, kind in told.items():
        assert issubclass(errors[name], getattr(builtins, kind)), name


PUBLIC = (
    ztstack.Node,
    ztstack.Stream,
    ztstack.Listener,
    ztstack.DatagramEndpoint,
    ztstack.Server,
    ztstack.Forward,
    ztstack.BlockingNode,
    ztstack.Socket,
    ztstack.ServerSocket,
    ztstack.DatagramSocket,
    lab_module.NodeLab,
    lab_module.BlockingLab,
)
AS_USUAL = frozenset(("fileno", "getblocking", "proto", "type", "get_loop", "ssl_object"))
"""Named and meant as in the standard library."""
INSIDE = frozenset(
    (
        "came",
        "file_closed",
        "halves",
        "is_readable",
        "loop",
        "node_stopped",
        "node_stops",
        "receive_views",
        "release",
        "remote_ip",
        "service",
        "socket_event",
        "start_serving",
        "wait_established",
        "went",
    )
)
"""For other modules of the package."""


@pytest.mark.parametrize("kind", PUBLIC, ids=lambda kind: kind.__name__)
def test_every_public_name_is_in_an_example(kind: type) -> None:
    text = PAGE.read_text("utf-8")
    names = {name for name in dir(kind) if not name.startswith("_")} - AS_USUAL - INSIDE
    assert sorted(name for name in names if not re.search(rf"\b{name}\b", text)) == []


@pytest.mark.timeout(60)
def test_simulation(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = blocks(TOP / "docs" / "simulation.md")
    exec(compile(block, "simulation.md", "exec"), {"__name__": "example"})
    answers, digest = capsys.readouterr().out.splitlines()[-1].split()
    assert int(answers) > 0
    assert len(digest) == 64


def test_blocks_were_found() -> None:
    assert len(BLOCKS) >= 6
    found = {
        page.name: len(blocks(page)) for page in [*TOP.glob("*.md"), *PAGE.parent.glob("*.md")]
    }
    assert {name: count for name, count in found.items() if count} == {
        PAGE.name: len(BLOCKS),
        **ELSEWHERE,
    }
