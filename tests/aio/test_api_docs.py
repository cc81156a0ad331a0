"""Every Python block of the pages runs, in a lab where somebody answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

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
    elif "8000" in block:
        assert said == "served\n" * 2
    elif ", 7)" in block:
        assert "PING" in said or "hello\n" in said


@pytest.mark.timeout(60)
def test_readme(
    names: dict[str, object],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (block,) = blocks(TOP / "README.md")
    for written, real in (
        ("8056c2e21c000001", names["network"]),
        ("10.147.20.7", names["host"]),
        ("6379", "7"),
    ):
        assert written in block
        block = block.replace(written, str(real))
    monkeypatch.chdir(tmp_path)
    state = Storage(Path("state"))
    state.open()
    state.save_identity(CONTROLLER)
    state.close()
    planet = names["planet"]
    assert isinstance(planet, bytes)
    Path("state/planet").write_bytes(planet)
    exec(compile(block, "README.md", "exec"), {"__name__": "example"})
    assert capsys.readouterr().out == "b'PING\\r\\n'\n"


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
