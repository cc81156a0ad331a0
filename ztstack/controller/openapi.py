"""The OpenAPI document of the controller's JSON interface, made of its table of operations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from ztstack.base.address import Address
from ztstack.controller.api import MEMBER_KEYS, NETWORK_KEYS, OPERATIONS, V6_MODES, Operation
from ztstack.controller.fields import UINT32_MAX, UINT63_MAX
from ztstack.controller.model import (
    MAX_ASSIGNMENTS,
    MAX_CAPABILITIES,
    MAX_NAME_BYTES,
    MAX_POOLS,
    MAX_ROUTES,
    MAX_TAGS,
)
from ztstack.wire.rules import MAX_CAPABILITY_RULES, MAX_RULES, RuleType

Schema = dict[str, object]

_BOOLEAN: Final[Schema] = {"type": "boolean"}
_TEXT: Final[Schema] = {"type": "string"}
_INTEGER: Final[Schema] = {"type": "integer"}
_UINT32: Final[Schema] = {"type": "integer", "minimum": 0, "maximum": UINT32_MAX}
_TIME: Final[Schema] = {"type": "integer", "minimum": 0, "maximum": UINT63_MAX}
_VERSION: Final[Schema] = {"type": "integer", "minimum": -1, "maximum": 0xFFFF}
_IP: Final[Schema] = {"anyOf": [{"type": "string", "format": f} for f in ("ipv4", "ipv6")]}
_NODE: Final = "^(?!0{10}|[fF]{2})[0-9a-fA-F]{10}$"
_NAME: Final[Schema] = {"type": "string", "maxLength": MAX_NAME_BYTES}


def _object(properties: Mapping[str, object], *, required: Iterable[str] = ()) -> Schema:
    made: Schema = {"type": "object", "properties": dict(properties)}
    needed = list(required)
    return {**made, "required": needed} if needed else made


def _list(items: Schema, limit: int | None = None) -> Schema:
    made: Schema = {"type": "array", "items": items}
    return made if limit is None else {**made, "maxItems": limit}


def _whole(most: int, least: int = 0) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": most}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


# Rules: what must be there besides the type.

_RANGE: Final = {"start": _whole(0xFFFF), "end": _whole(0xFFFF)}
_TAG: Final = {"id": _UINT32, "value": _UINT32}
_ADDRESS: Final[Schema] = {"type": "string", "pattern": "^[0-9a-fA-F]{10}$"}
_MAC: Final[Schema] = {"type": "string", "pattern": "^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$"}
_HEX: Final[Schema] = {
    "anyOf": [
        {"type": "string", "pattern": "^[0-9a-fA-F]{1,16}$"},
        {"type": "integer", "minimum": 0, "maximum": (1 << 64) - 1},
    ]
}
_NETWORK4: Final[Schema] = {"type": "string", "examples": ["10.1.2.0/24"]}
_NETWORK6: Final[Schema] = {"type": "string", "examples": ["fd77::/64"]}
_RULE_FIELDS: Final[dict[str, dict[str, Schema]]] = {
    "ACTION_TEE": {"address": _ADDRESS, "flags": _UINT32, "length": _whole(0xFFFF)},
    "ACTION_WATCH": {"address": _ADDRESS, "flags": _UINT32, "length": _whole(0xFFFF)},
    "ACTION_REDIRECT": {"address": _ADDRESS, "flags": _UINT32},
    "MATCH_SOURCE_ZEROTIER_ADDRESS": {"zt": _ADDRESS},
    "MATCH_DEST_ZEROTIER_ADDRESS": {"zt": _ADDRESS},
    "MATCH_VLAN_ID": {"vlanId": _whole(0xFFFF)},
    "MATCH_VLAN_PCP": {"vlanPcp": _whole(0xFF)},
    "MATCH_VLAN_DEI": {"vlanDei": _whole(0xFF)},
    "MATCH_MAC_SOURCE": {"mac": _MAC},
    "MATCH_MAC_DEST": {"mac": _MAC},
    "MATCH_IPV4_SOURCE": {"ip": _NETWORK4},
    "MATCH_IPV4_DEST": {"ip": _NETWORK4},
    "MATCH_IPV6_SOURCE": {"ip": _NETWORK6},
    "MATCH_IPV6_DEST": {"ip": _NETWORK6},
    "MATCH_IP_TOS": {"mask": _whole(0xFF), "start": _whole(0xFF), "end": _whole(0xFF)},
    "MATCH_IP_PROTOCOL": {"ipProtocol": _whole(0xFF)},
    "MATCH_ETHERTYPE": {"etherType": _whole(0xFFFF)},
    "MATCH_ICMP": {
        "icmpType": _whole(0xFF),
        "icmpCode": {"type": ["integer", "null"], "minimum": 0, "maximum": 0xFF},
    },
    "MATCH_IP_SOURCE_PORT_RANGE": _RANGE,
    "MATCH_IP_DEST_PORT_RANGE": _RANGE,
    "MATCH_FRAME_SIZE_RANGE": _RANGE,
    "MATCH_CHARACTERISTICS": {"mask": _HEX},
    "MATCH_RANDOM": {"probability": _UINT32},
    "MATCH_TAGS_DIFFERENCE": _TAG,
    "MATCH_TAGS_BITWISE_AND": _TAG,
    "MATCH_TAGS_BITWISE_OR": _TAG,
    "MATCH_TAGS_BITWISE_XOR": _TAG,
    "MATCH_TAGS_EQUAL": _TAG,
    "MATCH_TAG_SENDER": _TAG,
    "MATCH_TAG_RECEIVER": _TAG,
    "INTEGER_RANGE": {
        "start": _HEX,
        "end": _HEX,
        "idx": _whole(0xFFFF),
        "little": _BOOLEAN,
        "bits": _whole(64, 1),
    },
}
_OPTIONAL: Final = frozenset(("flags", "length", "icmpCode", "end", "mask", "idx", "bits"))
# These are needed in spite of their names.
_NEEDED: Final = {
    "MATCH_CHARACTERISTICS": ("mask",),
    "INTEGER_RANGE": ("start", "end"),
}


def _rule() -> Schema:
    forms = []
    for kind in RuleType:
        own = _RULE_FIELDS.get(kind.name, {})
        properties: dict[str, object] = {"type": {"const": kind.name}, **own}
        if not kind.name.startswith("ACTION_"):
            properties |= {"not": _BOOLEAN, "or": _BOOLEAN}
        default = [key for key in own if key not in _OPTIONAL and key != "little"]
        required = _NEEDED.get(kind.name, default)
        forms.append(_object(properties, required=("type", *required)))
    return {"oneOf": forms}


# Records.

_ROUTE_FIELDS: Final = {
    "target": {"type": "string", "examples": ["10.1.2.0/24", "fd77::/64"]},
    "via": {"anyOf": [_IP, {"const": ""}, {"type": "null"}]},
}


def _network_fields() -> dict[str, object]:
    rules = _ref("Rule")
    return {
        "name": _NAME,
        "private": _BOOLEAN,
        "enableBroadcast": _BOOLEAN,
        "multicastLimit": _UINT32,
        "mtu": {**_INTEGER, "description": "Is clamped to 1280..10000."},
        "v4AssignMode": {"anyOf": [_object({"zt": _BOOLEAN}), _TEXT]},
        "v6AssignMode": {"anyOf": [_object(dict.fromkeys(V6_MODES, _BOOLEAN)), _TEXT]},
        "routes": _list(_object(_ROUTE_FIELDS, required=("target",)), MAX_ROUTES),
        "ipAssignmentPools": _list(
            _object(
                {"ipRangeStart": _IP, "ipRangeEnd": _IP}, required=("ipRangeStart", "ipRangeEnd")
            ),
            MAX_POOLS,
        ),
        "rules": _list(rules, MAX_RULES),
        "rulesSource": _TEXT,
        "capabilities": _list(
            _object(
                {
                    "id": _UINT32,
                    "default": _BOOLEAN,
                    "rules": _list(rules, MAX_CAPABILITY_RULES),
                }
            ),
            MAX_CAPABILITIES,
        ),
        "tags": _list(
            _object(
                {
                    "id": _UINT32,
                    "default": {"type": ["integer", "null"], "minimum": 0, "maximum": UINT32_MAX},
                }
            ),
            MAX_TAGS,
        ),
        "authTokens": {
            "anyOf": [
                {"type": "object", "additionalProperties": _TIME},
                {"type": ["array", "null"]},
            ],
            "description": "Token to the time it ends, 0 for never.",
        },
        "dns": {
            "anyOf": [
                _object({"domain": _NAME, "servers": _list(_IP)}),
                {"type": "array", "maxItems": 0},
            ]
        },
        "remoteTraceTarget": _trace_target(),
        "remoteTraceLevel": _UINT32,
    }


def _trace_target() -> Schema:
    return {"anyOf": [_ADDRESS, {"const": ""}, {"type": "null"}]}


def _member_fields() -> dict[str, object]:
    pair = {"type": "array", "items": _UINT32, "minItems": 2, "maxItems": 2}
    return {
        "name": _NAME,
        "authorized": _BOOLEAN,
        "activeBridge": _BOOLEAN,
        "noAutoAssignIps": _BOOLEAN,
        "ipAssignments": _list(_IP, MAX_ASSIGNMENTS),
        "tags": _list(pair, MAX_TAGS),
        "capabilities": _list(_UINT32, MAX_CAPABILITIES),
        "authenticationExpiryTime": _TIME,
        "remoteTraceTarget": _trace_target(),
        "remoteTraceLevel": _UINT32,
    }


def _schemas() -> dict[str, Schema]:
    network, member = _network_fields(), _member_fields()
    assert network.keys() == set(NETWORK_KEYS)
    assert member.keys() == set(MEMBER_KEYS)
    identity = {"id": _TEXT, "nwid": _TEXT, "revision": _TIME, "creationTime": _TIME}
    whole_network = _object(
        {**network, **identity, "objtype": {"const": "network"}}, required=(*network, *identity)
    )
    whole_member = _object(
        {
            **member,
            **identity,
            "address": _TEXT,
            "objtype": {"const": "member"},
            "identity": _TEXT,
            **dict.fromkeys(("vMajor", "vMinor", "vRev", "vProto"), _VERSION),
            **dict.fromkeys(("lastAuthorizedTime", "lastDeauthorizedTime"), _TIME),
        },
        required=(*member, *identity, "address", "identity"),
    )
    about = {
        "controller": {"const": True},
        "apiVersion": _INTEGER,
        "databaseReady": _BOOLEAN,
        "address": _TEXT,
        "clock": _TIME,
    }
    status = {
        "address": _TEXT,
        "publicIdentity": _TEXT,
        "online": _BOOLEAN,
        "version": _TEXT,
        "clock": _TIME,
    }
    return {
        "Error": _object({"error": _TEXT}, required=("error",)),
        "Rule": _rule(),
        "Status": _object(status, required=status),
        "Controller": _object(about, required=about),
        "NetworkIds": _list({"type": "string", "pattern": "^[0-9a-f]{16}$"}),
        "NetworkChanges": _object(network),
        "Network": whole_network,
        "MemberChanges": _object(member),
        "Member": whole_member,
        "Revisions": {"type": "object", "additionalProperties": _TIME},
        "CountedNetwork": {
            "allOf": [_ref("Network"), _counted("totalMemberCount", "authorizedMemberCount")]
        },
        "Networks": _listing("CountedNetwork", "networkCount"),
        "Members": _listing("Member", "totalCount", "authorizedCount"),
    }


def _counted(*counts: str) -> Schema:
    meta = _object(dict.fromkeys(counts, _TIME), required=counts)
    return _object({"meta": meta}, required=("meta",))


def _listing(kind: str, *counts: str) -> Schema:
    data = _object({"data": _list(_ref(kind))}, required=("data",))
    return {"allOf": [data, _counted(*counts)]}


# Paths.


def _answers(gives: str, *, body: bool, found: bool) -> Schema:
    problems = {
        "400": (True, "What is wrong, with the field's name."),
        "401": (True, "The token is wrong."),
        "404": (found, "There is no such thing."),
        "413": (body, "The body is too long."),
        "500": (body, "It cannot be stored."),
    }
    answers: Schema = {"200": _content(gives, "The whole object, or what was asked for.")}
    for status, (there, words) in problems.items():
        if there:
            answers[status] = _content("Error", words)
    return answers


def _content(name: str, words: str) -> Schema:
    return {"description": words, "content": {"application/json": {"schema": _ref(name)}}}


def _parameters(operation: Operation, controller: Address) -> list[Schema]:
    own = "".join(c if c.isdigit() else f"[{c}{c.upper()}]" for c in str(controller))
    exact = f"^{own}(?!000000)[0-9a-fA-F]{{6}}$"
    if operation.method in ("POST", "PUT") and operation.path.endswith("{network}"):
        exact = f"^{own}(_{{6}}|(?!000000)[0-9a-fA-F]{{6}})$"
    patterns = {"network": exact, "member": _NODE}
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": pattern},
        }
        for name, pattern in patterns.items()
        if f"{{{name}}}" in operation.path
    ]


def document(controller: Address) -> Schema:
    """Return the description of a controller's interface; ids begin with its address."""
    paths: dict[str, Schema] = {
        "/status": {
            "get": {
                "operationId": "getStatus",
                "summary": "The node.",
                "responses": _answers("Status", body=False, found=False),
            }
        }
    }
    for operation in OPERATIONS:
        has_parameters = "{" in operation.path
        made: Schema = {
            "operationId": operation.id,
            "summary": operation.summary,
            "responses": _answers(operation.gives, body=operation.has_body, found=has_parameters),
        }
        if has_parameters:
            made["parameters"] = _parameters(operation, controller)
        if operation.takes is not None:
            made["requestBody"] = {
                "content": {"application/json": {"schema": _ref(operation.takes)}}
            }
        paths.setdefault(operation.path, {})[operation.method.lower()] = made
    return {
        "openapi": "3.1.0",
        "info": {"title": "ZeroTier network controller", "version": "4"},
        "security": [{"header": []}, {"query": []}, {"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "header": {"type": "apiKey", "in": "header", "name": "X-ZT1-Auth"},
                "query": {"type": "apiKey", "in": "query", "name": "auth"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }
