"""What --json prints, as JSON Schema: within version 1 fields are only ever added."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from ztcli.output.records import VERSION

Schema = dict[str, object]

# A field is `name`, or `name?` where it may be absent. A kind is a type of JSON, `any`, or the
# name of a part below; `[]` makes it a list, and `|` separates alternatives.
PARTS: Final[Mapping[str, str]] = {
    "root-check": "address:string link:string latency_ms:integer path:string seen_as:string[]"
    " clock_skew_ms:integer|null",
    "member-network": "network:string name:string status:string addresses:string[] detail:string"
    " routes:string[] dns_domain?:string dns_servers?:string[]",
    "peer": "address:string role:string version:string link:string paths:string[]"
    " latency_ms:integer last_seen_ms:integer sent_bytes?:integer received_bytes?:integer",
    "bond-report": "peer:string policy:string links:object[]",
    "named-address": "name:string address:string",
    "named-network": "alias:string network:string",
    "world-root": "node:string endpoints:string[] identity?:string",
    "latency": "min:number median:number max:number count:integer",
    "datagram-counts": "sent:integer received:integer lost:integer late:integer jitter_ms:number",
    "one-way": "direction:string bytes:integer seconds:number bytes_per_second:integer"
    " datagrams?:object",
    "local-result": "name:string value:number unit:string",
    "option": "option:string value:any origin:string",
    "variable": "variable:string option:string command:string",
    "finding": "check:string state:string detail:string",
    "hop": "stage:string who:string link:string path:string rtt_ms:number",
    "entry": "name:string command?:string options?:object mode?:string",
}

RECORDS: Final[Mapping[str, str]] = {
    "agent": "running:boolean pid:integer command?:string node?:string networks?:string[]"
    " state?:string socket?:string riders?:integer uptime_s?:number",
    "agent-log": "lines:string[]",
    "alias": "alias:string network:string|null",
    "aliases": "aliases:named-network[]",
    "bench": "host:string port:integer path:string direction:string streams:integer bytes:integer"
    " seconds:number bytes_per_second:integer latency_ms:latency loaded_ms:latency|null"
    " datagrams?:datagram-counts reverse?:one-way",
    "bench-local": "results:local-result[]",
    "bond": "peer:string policy:string links:object[]",
    "bonds": "bonds:bond-report[]",
    "completion": "shell:string path:string",
    "config": "file:string|null state:string|null options:option[] networks:object hosts:object",
    "config-check": "file:string ok:boolean",
    "code": "code:integer meaning:string advice:string",
    "doc": "topic:string text:string",
    "docs": "topics:object",
    "doctor": "checks:finding[] bundle:string|null files:string[]",
    "dry-run": "command:string networks:string[]",
    "error": "code:integer error:string hint?:string",
    "host": "name:string address:string|null",
    "hosts": "hosts:named-address[]",
    "identity": "node:string state?:string identity?:string valid?:boolean",
    "ip": "addresses:string[]",
    "join": "state:string|null node:string networks:string[] addresses:string[]",
    "lab": "network:string planet:string",
    "leave": "network:string forgotten:boolean",
    "log": "ts:number level:string message:string",
    "member": "",
    "members": "members:object[]",
    "moon": "id:string roots?:integer orbited?:boolean file?:string",
    "moons": "moons:object[]",
    "netcheck": "udp:boolean ipv4:boolean ipv6:boolean nat:string external:string[]"
    " port_mapping:string tcp_relay:string tcp_relay_state:string roots:root-check[]",
    "network": "id:string",
    "networks": "networks:object[]",
    "peers": "peers:peer[]",
    "planet": "id:string file?:string timestamp?:integer roots?:world-root[]",
    "port": "host:string port:integer open:boolean",
    "signature": "node:string signature:string",
    "status": "node:string online:boolean version:string local:string[]"
    " networks:member-network[] peers:peer[] planet?:string drops?:object bonds?:bond-report[]",
    "trace": "target:string hops:hop[]",
    "up": "networks:string[] entries:entry[]",
    "variables": "variables:variable[]",
    "verified": "node:string valid:boolean",
    "version": "version:string python:string",
}

EVENTS: Final[Mapping[str, str]] = {
    "bonds": "bonds:bond-report[]",
    "check": "check:string ok:boolean detail:string seconds:number",
    "close": "target:string sent:integer received:integer",
    "datagram": "remote:string port:integer local:string data:string text:string",
    "open": "target:string",
    "path": "peer:string socket:integer remote:string state:string before:string reason:string",
    "pong": "seq:integer node:string ip:string rtt_ms:number link:string path:string relay:string",
    "ready": "mode?:string node?:string networks?:string[] addresses?:string[] port?:integer"
    " urls?:string[] pid?:integer",
    "request": "remote:string node:string method:string target:string status:integer"
    " sent:integer received:integer",
    "timeout": "seq:integer error:string",
}

_TYPES: Final = ("string", "integer", "number", "boolean", "object", "null")


def names() -> tuple[str, ...]:
    """Return what `zt schema` can be asked for."""
    return (*RECORDS, "event")


def schema(name: str | None = None) -> Schema:
    """Return the schema of one type, or of whatever line --json can print."""
    found: Schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    parts: Schema = {}
    if name is None:
        parts = {one: _event() if one == "event" else _record(one) for one in names()}
        found["anyOf"] = [{"$ref": f"#/$defs/{one}"} for one in parts]
    else:
        found |= _event() if name == "event" else _record(name)
    text = json.dumps([found, parts])
    parts |= {one: _object(PARTS[one]) for one in PARTS if f'"#/$defs/{one}"' in text}
    return {**found, "$defs": parts} if parts else found


def _record(name: str) -> Schema:
    return _object(RECORDS[name], {"v": {"const": VERSION}, "type": {"const": name}})


def _event() -> Schema:
    constants: Schema = {"v": {"const": VERSION}, "type": {"const": "event"}}
    return {
        "anyOf": [
            _object(f"ts:number {fields}", {**constants, "event": {"const": event}})
            for event, fields in EVENTS.items()
        ]
    }


def _object(fields: str, constants: Schema | None = None) -> Schema:
    properties: Schema = dict(constants or {})
    required = list(properties)
    for field in fields.split():
        name, _, kind = field.partition(":")
        if not name.endswith("?"):
            required.append(name)
        properties[name.removesuffix("?")] = _kind(kind)
    return {"type": "object", "properties": properties, "required": required}


def _kind(text: str) -> Schema:
    if "|" in text:
        return {"anyOf": [_kind(part) for part in text.split("|")]}
    if text.endswith("[]"):
        return {"type": "array", "items": _kind(text[:-2])}
    if text == "any":
        return {}
    return {"type": text} if text in _TYPES else {"$ref": f"#/$defs/{text}"}
