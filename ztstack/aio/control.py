"""A running controller's control socket, and how to talk to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from ztstack.aio.clock import Clock
from ztstack.aio.controller_store import FileStore
from ztstack.aio.entropy import SystemEntropy
from ztstack.aio.json_socket import Json, JsonServer, ask_running
from ztstack.aio.service import Service
from ztstack.aio.storage import Storage
from ztstack.base.errors import StateInUse, StorageError
from ztstack.base.trace import CountingTracer
from ztstack.controller.controller import Controller

_NAME: Final = "controller"


def _answer(controller: Controller, now: int, request: Json) -> dict[str, object]:
    """Carry out one request of the JSON interface (vl2 7.7)."""
    # Only who runs or asks a controller pays for it.
    from ztstack.controller.api import handle  # noqa: PLC0415

    method, path, body = (request.get(key) for key in ("method", "path", "body"))
    if not isinstance(method, str) or not isinstance(path, str):
        return {"status": 400, "body": {"error": "a request has a method and a path"}}
    status, answer = handle(controller, now, method, path, json.dumps(body or {}).encode())
    return {"status": status, "body": answer}


class ControlServer:
    """Serves the control socket of a running controller."""

    def __init__(self, service: Service, state: Path) -> None:
        self._service = service
        self._socket = JsonServer(state, _NAME, self._answer)

    async def start(self) -> None:
        await self._socket.start()

    async def stop(self) -> None:
        await self._socket.stop()

    def _answer(self, request: Json) -> dict[str, object]:
        controller = self._service.node.controller
        assert controller is not None
        answer = _answer(controller, self._service.clock.now(), request)
        self._service.driver.pump_soon()
        return answer


async def ask_controller(
    state: Path, method: str, path: str, body: Json | None = None
) -> tuple[int, object]:
    """Ask the controller whose state directory this is, running or not, as its JSON interface.

    Returns the HTTP status and what would be in the answer; StorageError if there is no controller.
    """
    if not state.is_dir():  # noqa: ASYNC240 - one look at a local folder
        raise StorageError(f"{state}: there is no controller here (run: zt controller run)")
    request = {"method": method, "path": path, "body": body}
    answer = await ask_running(state, _NAME, request)
    if answer is None:
        answer = _ask_store(state, request)
    status = answer.get("status")
    assert isinstance(status, int)
    return status, answer.get("body")


def compile_rules(text: str) -> dict[str, object]:
    """Turn a text in the rules language into what the JSON interface takes.

    InvalidConfig names the line that is wrong.
    """
    # Only who sets rules pays for it.
    from ztstack.controller import rules_text  # noqa: PLC0415

    return rules_text.parse_program(text).to_json()


def _ask_store(state: Path, request: Json) -> dict[str, object]:
    storage = Storage(state)
    try:
        storage.open()
    except StateInUse as error:
        raise StorageError(f"{error}, and it is no controller that answers") from None
    try:
        identity = storage.load_identity()
        if identity is None:
            raise StorageError(f"{state}: there is no controller here (run: zt controller run)")
        now = Clock().now()
        store = FileStore(state / "controller.d")
        controller = Controller(now, identity, store, SystemEntropy(), CountingTracer())
        return _answer(controller, now, request)
    finally:
        storage.close()
