"""A running controller's control socket, and how to talk to it.

One JSON object a line each way, on a socket that only its owner can open.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from ztstack.aio.clock import Clock
from ztstack.aio.controller_store import FileStore
from ztstack.aio.entropy import SystemEntropy
from ztstack.aio.service import Service
from ztstack.aio.storage import Storage, write_atomically
from ztstack.base.address import Address
from ztstack.base.errors import InvalidConfig, LocalError, StateInUse, StorageError
from ztstack.base.network_id import NetworkId
from ztstack.base.trace import CountingTracer
from ztstack.controller.controller import Controller
from ztstack.controller.model import MemberRecord, NetworkRecord

LINE_LIMIT: Final = 1 << 20
_PATH_LIMIT: Final = 100

Json = Mapping[str, object]


def _text(request: Json, key: str, default: str | None = None) -> str:
    value = request.get(key, default)
    if not isinstance(value, str):
        raise InvalidConfig(f"{key}: a text is needed")
    return value


def _network_json(record: NetworkRecord) -> dict[str, object]:
    return {
        "id": str(record.id),
        "name": record.name,
        "private": record.private,
        "mtu": record.mtu,
        "pools": [f"{start}-{end}" for start, end in record.pool_texts()],
        "routes": record.route_texts(),
    }


def _member_json(record: MemberRecord) -> dict[str, object]:
    return {
        "address": str(record.address),
        "authorized": record.authorized,
        "addresses": list(record.ip_texts()),
        "version": record.version_text(),
    }


def answer(controller: Controller, now: int, request: Json) -> dict[str, object]:
    """Carry one request out; LocalError says why it cannot be."""
    command = _COMMANDS.get(_text(request, "command"))
    if command is None:
        raise InvalidConfig(f"no such command: {_text(request, 'command')}")
    return command(controller, now, request)


def _list(controller: Controller, now: int, request: Json) -> dict[str, object]:
    del now, request
    return {"networks": [_network_json(record) for record in controller.networks()]}


def _create(controller: Controller, now: int, request: Json) -> dict[str, object]:
    pools = request.get("pools", [])
    if not isinstance(pools, list) or not all(isinstance(pool, str) for pool in pools):
        raise InvalidConfig("pools: a list of texts is needed")
    mtu = request.get("mtu")
    record = controller.create_network(
        now,
        name=_text(request, "name", ""),
        private=bool(request.get("private", True)),
        pools=pools,
        rfc4193=bool(request.get("rfc4193", True)),
        mtu=mtu if isinstance(mtu, int) else 2800,
    )
    return {"network": _network_json(record)}


def _members(controller: Controller, now: int, request: Json) -> dict[str, object]:
    del now
    network = NetworkId.parse(_text(request, "network"))
    return {"members": [_member_json(record) for record in controller.members(network)]}


def _authorize(controller: Controller, now: int, request: Json) -> dict[str, object]:
    network = NetworkId.parse(_text(request, "network"))
    address = Address.parse(_text(request, "address"))
    return {"member": _member_json(controller.authorize(now, network, address))}


def _deauthorize(controller: Controller, now: int, request: Json) -> dict[str, object]:
    network = NetworkId.parse(_text(request, "network"))
    address = Address.parse(_text(request, "address"))
    return {"member": _member_json(controller.deauthorize(now, network, address))}


_COMMANDS: Final[dict[str, Callable[[Controller, int, Json], dict[str, object]]]] = {
    "networks": _list,
    "create": _create,
    "members": _members,
    "authorize": _authorize,
    "deauthorize": _deauthorize,
}


def _socket_path(state: Path) -> Path:
    return state.absolute() / "controller.sock"


class ControlServer:
    """Serves the control socket of a running controller."""

    def __init__(self, service: Service, state: Path) -> None:
        self._service = service
        self._state = state
        self._server: asyncio.Server | None = None
        self._token = ""

    async def start(self) -> None:
        path = _socket_path(self._state)
        if sys.platform != "win32" and len(os.fsencode(path)) <= _PATH_LIMIT:
            path.unlink(missing_ok=True)
            previous = os.umask(0o177)
            try:
                self._server = await asyncio.start_unix_server(self._serve, path, limit=LINE_LIMIT)
            finally:
                os.umask(previous)
            return
        # Elsewhere a loopback port, and a token in a file that only its owner can read.
        self._token = secrets.token_hex(32)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=LINE_LIMIT)
        port = self._server.sockets[0].getsockname()[1]
        data = json.dumps({"port": port, "token": self._token}).encode()
        write_atomically(self._state / "controller.port", data)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        _socket_path(self._state).unlink(missing_ok=True)
        (self._state / "controller.port").unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async for line in reader:
                writer.write(json.dumps(self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # The client went away, or sent a line beyond the limit.
        finally:
            writer.close()

    def _answer(self, line: bytes) -> dict[str, object]:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise InvalidConfig("a request is an object")
            if self._token and not secrets.compare_digest(
                str(request.get("token", "")).encode(), self._token.encode()
            ):
                raise InvalidConfig("wrong token")
            controller = self._service.node.controller
            assert controller is not None
            result = answer(controller, self._service.clock.now(), request)
            self._service.driver.pump_soon()
        except (LocalError, ValueError) as error:
            return {"error": str(error)}
        return result


async def ask_controller(state: Path, request: Json) -> dict[str, object]:
    """Ask the controller whose state directory this is, running or not.

    Raises InvalidConfig with the controller's own words if it refuses, StorageError if there is
    no controller.
    """
    if not state.is_dir():  # noqa: ASYNC240 - one look at a local folder
        raise StorageError(f"{state}: there is no controller here (run: zt controller run)")
    running = await _ask_running(state, request)
    if running is None:
        running = _ask_store(state, request)
    error = running.get("error")
    if isinstance(error, str):
        raise InvalidConfig(error)
    return running


async def _ask_running(state: Path, request: Json) -> dict[str, object] | None:
    path, port = _socket_path(state), state / "controller.port"
    token = {}
    try:
        if port.exists():
            where = json.loads(port.read_text("ascii"))
            token = {"token": where["token"]}
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", where["port"], limit=LINE_LIMIT
            )
        elif path.exists():
            reader, writer = await asyncio.open_unix_connection(path, limit=LINE_LIMIT)
        else:
            return None
    except (OSError, ValueError, KeyError):
        return None  # Left over from a controller that was killed.
    try:
        writer.write(json.dumps({**request, **token}).encode() + b"\n")
        line = await reader.readline()
        if not line:
            raise StorageError(f"{state}: the running controller did not answer")
        result: dict[str, object] = json.loads(line)
        return result
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


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
        return answer(controller, now, request)
    finally:
        storage.close()
