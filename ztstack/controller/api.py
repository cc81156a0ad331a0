"""The official controller's JSON interface as functions: parameters and body to status and JSON.

Paths and objects are those of vl2 section 7.7, so that tools written for it work. `OPERATIONS` is
the table from which the HTTP server makes its routes and the OpenAPI document its paths; `handle`
serves those who have no HTTP server between them and the controller.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from ztstack.base.address import Address
from ztstack.base.errors import InvalidConfig, StorageError
from ztstack.base.network_id import NetworkId
from ztstack.controller.controller import Controller
from ztstack.controller.fields import Json
from ztstack.controller.model import MemberRecord, NetworkRecord

API_VERSION: Final = 4
MAX_BODY_BYTES: Final = 4 << 20
_ANY_ID: Final = "______"
NETWORK_KEYS: Final = (
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
    "rulesSource",
    "capabilities",
    "tags",
    "authTokens",
    "dns",
    "remoteTraceTarget",
    "remoteTraceLevel",
)
MEMBER_KEYS: Final = (
    "name",
    "authorized",
    "activeBridge",
    "noAutoAssignIps",
    "ipAssignments",
    "tags",
    "capabilities",
    "authenticationExpiryTime",
    "remoteTraceTarget",
    "remoteTraceLevel",
)
V6_MODES: Final = ("rfc4193", "6plane", "zt")


class Answer(NamedTuple):
    """An HTTP status and the object for its body."""

    status: int
    body: object


class Call(NamedTuple):
    """One request: the parameters of its path, and the object in its body."""

    controller: Controller
    now: int
    parameters: Mapping[str, str]
    body: Json

    @property
    def network_id(self) -> NetworkId:
        return NetworkId.parse(self.parameters["network"])

    def network(self) -> NetworkRecord:
        network = self.network_id
        record = self.controller.network(network)
        if record is None:
            raise _NotFound(f"there is no network {network}")
        return record

    def member(self) -> MemberRecord:
        network, address = self.network().id, Address.parse(self.parameters["member"])
        record = self.controller.member(network, address)
        if record is None:
            raise _NotFound(f"{address} is no member of {network}")
        return record


class Operation(NamedTuple):
    """What a method does at a path; `takes` and `gives` name schemas of the OpenAPI document."""

    method: str
    path: str
    id: str
    summary: str
    run: Callable[[Call], object]
    gives: str
    takes: str | None = None

    @property
    def has_body(self) -> bool:
        return self.takes is not None


class _NotFound(Exception):
    """Nothing is at the path."""


def perform(
    operation: Operation,
    controller: Controller,
    now: int,
    parameters: Mapping[str, str],
    body: bytes,
) -> Answer:
    """Carry out one operation; the caller has checked who asks."""
    try:
        data = _parse(body) if operation.has_body else {}
        return Answer(200, operation.run(Call(controller, now, parameters, data)))
    except _NotFound as error:
        return Answer(404, {"error": str(error)})
    except InvalidConfig as error:
        return Answer(400, {"error": str(error)})
    except StorageError as error:
        return Answer(500, {"error": str(error)})


def handle(controller: Controller, now: int, method: str, path: str, body: bytes) -> Answer:
    """Carry out the operation of a method and a path."""
    given = path.partition("?")[0].strip("/").split("/")
    for operation in OPERATIONS:
        wanted = operation.path.strip("/").split("/")
        pairs = list(zip(wanted, given, strict=False))
        fits = len(wanted) == len(given) and all(w[0] == "{" or w == g for w, g in pairs)
        if fits and method == operation.method:
            parameters = {w.strip("{}"): g for w, g in pairs if w[0] == "{"}
            return perform(operation, controller, now, parameters, body)
    return Answer(404, {"error": f"{method} of this path is not known"})


def _parse(body: bytes) -> Json:
    try:
        data = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise InvalidConfig("the body is not JSON") from None
    if not isinstance(data, dict):
        raise InvalidConfig("the body is not a JSON object")
    return data


# Networks.


def _about(call: Call) -> object:
    about = {"controller": True, "apiVersion": API_VERSION, "databaseReady": True}
    return {**about, "address": str(call.controller.address), "clock": call.now // 1000}


def _list_networks(call: Call) -> object:
    return [str(record.id) for record in _sorted(call)]


def _sorted(call: Call) -> list[NetworkRecord]:
    return sorted(call.controller.networks(), key=lambda record: record.id)


def _create_network(call: Call) -> object:
    return _put_network(call, NetworkRecord(id=call.controller.free_id()))


def _change_network(call: Call) -> object:
    name = call.parameters["network"]
    if len(name) == 16 and name.endswith(_ANY_ID):
        if Address.parse(name[:10]) != call.controller.address:
            raise InvalidConfig(f"this controller is {call.controller.address}")
        return _create_network(call)
    network = call.network_id
    return _put_network(call, call.controller.network(network) or NetworkRecord(id=network))


def _put_network(call: Call, record: NetworkRecord) -> object:
    changes = {key: call.body[key] for key in NETWORK_KEYS if key in call.body}
    data = {**record.to_json(), **changes}
    if "rules" in changes and "rulesSource" not in changes:
        data["rulesSource"] = ""  # It would be the source of other rules.
    data["v4AssignMode"] = _v4_mode(data["v4AssignMode"])
    data["v6AssignMode"] = _v6_mode(data["v6AssignMode"])
    changed = NetworkRecord.from_json(data)
    return call.controller.put_network(call.now, changed).to_json()


def _v4_mode(value: object) -> object:
    return {"zt": value == "zt"} if isinstance(value, str) else value


def _v6_mode(value: object) -> object:
    if isinstance(value, str):
        named = value.split(",")
        return {mode: mode in named for mode in V6_MODES}
    if isinstance(value, Mapping):
        # What an object leaves out is off, and not kept.
        return {mode: value.get(mode, False) for mode in V6_MODES}
    return value


def _show_network(call: Call) -> object:
    return call.network().to_json()


def _delete_network(call: Call) -> object:
    return call.controller.delete_network(call.now, call.network().id).to_json()


def _describe_networks(call: Call) -> object:
    found = []
    for record in _sorted(call):
        total, authorized = _counts(call.controller.members(record.id))
        counts = {"totalMemberCount": total, "authorizedMemberCount": authorized}
        found.append({**record.to_json(), "meta": counts})
    return {"data": found, "meta": {"networkCount": len(found)}}


# Members.


def _list_members(call: Call) -> object:
    members = call.controller.members(call.network().id)
    return {str(member.address): member.revision for member in members}


def _show_member(call: Call) -> object:
    return call.member().to_json(call.network_id)


def _change_member(call: Call) -> object:
    network, address = call.network().id, Address.parse(call.parameters["member"])
    record = call.controller.member(network, address)
    if record is None:
        record = MemberRecord(address=address, created_ms=call.now // 1000)
    changes = {key: call.body[key] for key in MEMBER_KEYS if key in call.body}
    changed = MemberRecord.from_json({**record.to_json(network), **changes})
    return call.controller.put_member(call.now, network, changed).to_json(network)


def _delete_member(call: Call) -> object:
    address = call.member().address
    return call.controller.delete_member(call.now, call.network_id, address).to_json(
        call.network_id
    )


def _describe_members(call: Call) -> object:
    network = call.network().id
    members = call.controller.members(network)
    total, authorized = _counts(members)
    meta = {"totalCount": total, "authorizedCount": authorized}
    return {"data": [member.to_json(network) for member in members], "meta": meta}


def _counts(members: Sequence[MemberRecord]) -> tuple[int, int]:
    """Return how many there are, and how many of them are in."""
    return len(members), sum(member.authorized for member in members)


_NETWORKS: Final = "/controller/network"
_NETWORK: Final = f"{_NETWORKS}/{{network}}"
_MEMBERS: Final = f"{_NETWORK}/member"
_MEMBER: Final = f"{_MEMBERS}/{{member}}"


def _writing(
    path: str, name: str, summary: str, run: Callable[[Call], object], kind: str
) -> tuple[Operation, Operation]:
    """Return what POST does, and PUT too."""
    takes = f"{kind}Changes"
    return (
        Operation("POST", path, name, summary, run, kind, takes),
        Operation("PUT", path, f"{name}ByPut", summary, run, kind, takes),
    )


OPERATIONS: Final = (
    Operation("GET", "/controller", "getController", "About it.", _about, "Controller"),
    Operation("GET", _NETWORKS, "listNetworks", "All ids.", _list_networks, "NetworkIds"),
    *_writing(_NETWORKS, "createNetwork", "Make a network.", _create_network, "Network"),
    Operation("GET", _NETWORK, "getNetwork", "One network.", _show_network, "Network"),
    *_writing(_NETWORK, "changeNetwork", "Change or make it.", _change_network, "Network"),
    Operation("DELETE", _NETWORK, "deleteNetwork", "Forget it.", _delete_network, "Network"),
    Operation("GET", _MEMBERS, "listMembers", "All revisions.", _list_members, "Revisions"),
    Operation("GET", _MEMBER, "getMember", "One member.", _show_member, "Member"),
    *_writing(_MEMBER, "changeMember", "Change or name it.", _change_member, "Member"),
    Operation("DELETE", _MEMBER, "deleteMember", "Forget it.", _delete_member, "Member"),
    Operation(
        "GET", f"/unstable{_NETWORKS}", "describeNetworks", "All.", _describe_networks, "Networks"
    ),
    Operation(
        "GET", f"/unstable{_MEMBERS}", "describeMembers", "All.", _describe_members, "Members"
    ),
)
