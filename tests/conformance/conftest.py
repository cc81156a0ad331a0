"""Two nodes for every name of an engine, on a loop of their own in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

import ztstack
from tests.support.os_engine import OsEngine
from tests.support.switches import known_identities
from ztcli.engine import Engine
from ztcli.engines import make_engine
from ztcli.environment import Environment
from ztcli.options import Common, settings
from ztstack.aio.storage import write_atomically

NAMES: Final = ("managed", "zerotier", "libzt", "overlay", "os")
START_S: Final = 60.0
Result = TypeVar("Result")
Runner = Callable[[Coroutine[Any, Any, Any]], Any]
"""Runs a coroutine on the loop of the nodes, from outside of it."""


@dataclass(frozen=True, slots=True)
class Arena:
    """Two nodes that reach one another; `near` calls, `far` serves."""

    name: str
    near: Engine
    far: Engine
    run_on_loop: Runner

    def run(self, script: Callable[[Engine, Engine], Coroutine[Any, Any, Result]]) -> Result:
        """Run `script(near, far)` on the loop of the nodes."""

        async def limited() -> Result:
            async with asyncio.timeout(30):
                return await script(self.near, self.far)

        found: Result = self.run_on_loop(limited())
        return found


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where states are, with identities that are known, since making them takes long."""
    place = tmp_path_factory.mktemp("conformance")
    plant(place)
    return place


def plant(place: Path) -> None:
    """Put known identities into the states of a lab and of two managed nodes."""
    roles = ("lab", "managed/far", "managed/near")
    for role, identity in zip(roles, known_identities(), strict=False):
        state = place / role
        state.mkdir(mode=0o700, parents=True)
        write_atomically(state / "identity.secret", identity.secret_text().encode())


@pytest.fixture(scope="session")
def on_loop() -> Iterator[Runner]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, loop).result(START_S)

    yield run
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture(scope="session")
def lab(folder: Path, on_loop: Runner) -> Iterator[Callable[[], ztstack.LabDetails]]:
    """Start the lab when the first managed node needs it."""
    started: list[tuple[ztstack.Lab, ztstack.LabDetails]] = []

    def details() -> ztstack.LabDetails:
        if not started:
            one = ztstack.Lab(folder / "lab")
            started.append((one, on_loop(one.start())))
        return started[0][1]

    yield details
    for one, _ in started:
        on_loop(one.stop())


@pytest.fixture(scope="module", params=NAMES)
def arena(
    request: pytest.FixtureRequest,
    folder: Path,
    on_loop: Runner,
    lab: Callable[[], ztstack.LabDetails],
) -> Iterator[Arena]:
    name: str = request.param
    details = lab() if name not in ("overlay", "os") else None
    pair = _pair(name, folder, details)
    near, far = on_loop(pair.__aenter__())
    yield Arena(name, near, far, on_loop)
    on_loop(pair.__aexit__(None, None, None))


@asynccontextmanager
async def _pair(
    name: str, folder: Path, details: ztstack.LabDetails | None
) -> AsyncIterator[tuple[Engine, Engine]]:
    if name == "os":
        yield OsEngine(), OsEngine()
        return
    common = Common(stack=name, timeout=None)
    if details is None:
        common = common.merged(Common(network=["cafe2001"]))
    else:
        common = common.merged(
            Common(network=[str(details.network)], planet=str(details.planet), relay="off")
        )
    async with _engine(common, folder, "far") as far:
        if details is None:
            place = str((await far.status())["local"][0])  # type: ignore[index] # JSON
            common = common.merged(Common(peer=[f"{far.node_id}@{place.replace('/', ':')}"]))
        async with _engine(common, folder, "near") as near:
            await far.join()
            await near.join()
            yield near, far


def _engine(common: Common, folder: Path, role: str) -> Engine:
    env = Environment({}, folder, make_engine, handle_signals=False)
    kind = "overlay" if common.stack == "overlay" else "managed"
    found = settings(common.merged(Common(state=str(folder / kind / role))), folder)
    return env.engine(found)
