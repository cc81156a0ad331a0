"""The official controller's JSON interface as a function: method, path and body to status and JSON.

Paths and objects are those of vl2 section 7.7, so that tools written for it work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, NamedTuple

from ztstack.base.address import Address
from ztstack.base.errors import InvalidConfig
from ztstack.base.network_id import NetworkId
from ztstack.controller.controller import Controller
from ztstack.controller.model import Json, MemberRecord, NetworkRecord

API_VERSION: Final = 4
_ANY_ID: Final = "______"
_NETWORK_KEYS: Final = frozenset(
    (
        "name",
        "private",
        "enableBroadcast",
        "multicastLimit",
        "mtu",
        "v4AssignMode",
        "v6AssignMode",
        "routes",
        "ipAssignmentPools",
        "rules",
        "capabilities",
        "tags",
        "dns",
        "remoteTraceTarget",
        "remoteTraceLevel",
    )
)
_MEMBER_KEYS: Final = frozenset(
    ("authorized", "activeBridge", "noAutoAssignIps", "ipAssignments", "tags", "capabilities")
)
_V6_MODES: Final = ("rfc4193", "6plane", "zt")


class Answer(NamedTuple):
    """An HTTP status and the object for its body."""

    status: int
    body: object


def handle(controller: Controller, now: int, method: str, path: str, body: bytes) -> Answer:
    """Carry out one request; the caller has checked who asks."""
    parts = [part for part in path.partition("?")[0].split("/") if part]
    try:
        changes = _parse(body) if method in ("POST", "PUT") else {}
        return _route(controller, now, "POST" if method == "PUT" else method, parts, changes)
    except _NotFound as error:
        return Answer(404, {"error": str(error)})
    except InvalidConfig as error:
        return Answer(400, {"error": str(error)})


class _NotFound(Exception):
    """Nothing is at the path."""


def _parse(body: bytes) -> Json:
    try:
        data = json.loads(body or b"{}")
    except ValueError:
        raise InvalidConfig("the body is not JSON") from None
    if not isinstance(data, dict):
        raise InvalidConfig("the body is not a JSON object")
    return data


def _route(
    controller: Controller, now: int, method: str, parts: list[str], changes: Json
) -> Answer:
    match parts:
        case ["controller"] if method == "GET":
            about = {"controller": True, "apiVersion": API_VERSION, "databaseReady": True}
            return Answer(200, {**about, "clock": now // 1000})
        case ["controller", "network"] if method == "GET":
            return Answer(200, [str(record.id) for record in controller.networks()])
        case ["controller", "network"] if method == "POST":
            return _create(controller, now, changes)
        case ["controller", "network", name]:
            if method == "POST" and name.endswith(_ANY_ID) and len(name) == 16:
                if name[:10] != str(controller.address):
                    raise InvalidConfig(f"this controller is {controller.address}")
                return _create(controller, now, changes)
            return _network(controller, now, method, NetworkId.parse(name), changes)
        case ["controller", "network", name, "member"] if method == "GET":
            members = _members(controller, NetworkId.parse(name))
            return Answer(200, {str(m.address): m.revision for m in members})
        case ["controller", "network", name, "member", address]:
            network, node = NetworkId.parse(name), Address.parse(address)
            return _member(controller, now, method, network, node, changes)
        case _:
            return _unstable(controller, method, parts)


def _unstable(controller: Controller, method: str, parts: list[str]) -> Answer:
    match parts:
        case ["unstable", "controller", "network"] if method == "GET":
            found = [record.to_json() for record in controller.networks()]
            return Answer(200, {"data": found, "meta": {"networkCount": len(found)}})
        case ["unstable", "controller", "network", name, "member"] if method == "GET":
            network = NetworkId.parse(name)
            members = _members(controller, network)
            meta = {
                "totalCount": len(members),
                "authorizedCount": sum(member.authorized for member in members),
            }
            return Answer(200, {"data": [m.to_json(network) for m in members], "meta": meta})
        case _:
            raise _NotFound(f"{method} of this path is not known")


def _find(controller: Controller, network: NetworkId) -> NetworkRecord | None:
    return next((record for record in controller.networks() if record.id == network), None)


def _members(controller: Controller, network: NetworkId) -> list[MemberRecord]:
    if _find(controller, network) is None:
        raise _NotFound(f"there is no network {network}")
    return controller.members(network)


def _create(controller: Controller, now: int, changes: Json) -> Answer:
    record = controller.create_network(now, rfc4193=False)
    return _update(controller, now, record, changes)


def _network(
    controller: Controller, now: int, method: str, network: NetworkId, changes: Json
) -> Answer:
    record = _find(controller, network)
    if method == "POST":
        return _update(controller, now, record or NetworkRecord(id=network), changes)
    if record is None:
        raise _NotFound(f"there is no network {network}")
    if method == "DELETE":
        return Answer(200, controller.delete_network(now, network).to_json())
    return Answer(200, record.to_json())


def _update(controller: Controller, now: int, record: NetworkRecord, changes: Json) -> Answer:
    data = {**record.to_json(), **{k: v for k, v in changes.items() if k in _NETWORK_KEYS}}
    data["v4AssignMode"] = _v4_mode(data["v4AssignMode"])
    data["v6AssignMode"] = _v6_mode(data["v6AssignMode"])
    if data["dns"] == []:
        data["dns"] = {}
    changed = controller.put_network(now, NetworkRecord.from_json(data))
    return Answer(200, changed.to_json())


def _v4_mode(value: object) -> object:
    return {"zt": value == "zt"} if isinstance(value, str) else value


def _v6_mode(value: object) -> object:
    if isinstance(value, str):
        named = value.split(",")
        return {mode: mode in named for mode in _V6_MODES}
    if isinstance(value, Mapping):
        # What an object leaves out is off, and not kept.
        return {mode: value.get(mode, False) for mode in _V6_MODES}
    return value


def _member(
    controller: Controller,
    now: int,
    method: str,
    network: NetworkId,
    address: Address,
    changes: Json,
) -> Answer:
    record = next((m for m in _members(controller, network) if m.address == address), None)
    if method == "POST":
        record = record or MemberRecord(address=address, created_ms=now // 1000)
        data = {**record.to_json(network)}
        data |= {key: value for key, value in changes.items() if key in _MEMBER_KEYS}
        changed = controller.put_member(now, network, MemberRecord.from_json(data))
        return Answer(200, changed.to_json(network))
    if record is None:
        raise _NotFound(f"{address} is no member of {network}")
    if method == "DELETE":
        return Answer(200, controller.delete_member(now, network, address).to_json(network))
    return Answer(200, record.to_json(network))
