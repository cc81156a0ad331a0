"""Every Python block of docs/python.md runs, in a lab where somebody answers."""

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

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


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


def test_blocks_were_found() -> None:
    assert len(BLOCKS) >= 6
