from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.support.vectors import cases, load
from ztstack.base.codec import Writer
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import DecodeError
from ztstack.vl2.network_config import MAX_MULTICAST_LIMIT, NetworkConfig, Route, SingleSignOn
from ztstack.wire.credentials import Capability, Com, Ownership, Tag
from ztstack.wire.dictionary import Dictionary
from ztstack.wire.network_config import default_metadata


def serialized(credential: Com | Tag | Capability | Ownership) -> str:
    w = Writer()
    credential.encode(w)
    return w.getvalue().hex()


def prefix(text: str) -> tuple[bytes, int]:
    host, _, bits = text.rpartition("/")
    return ipaddress.ip_address(host).packed, int(bits)


def route_of(data: dict[str, Any]) -> Route:
    ip, bits = prefix(data["target"])
    via = prefix(data["via"])[0] if data["via"] else None
    return Route(ip, bits, via, data["flags"], data["metric"])


def check(config: NetworkConfig, data: dict[str, Any]) -> None:
    assert str(config.network) == data["network_id"]
    assert config.timestamp == data["timestamp"]
    assert config.credential_delta_ms == data["credential_time_max_delta"]
    assert config.revision == data["revision"]
    assert str(config.issued_to) == data["issued_to"]
    assert str(config.remote_trace_target) == data["remote_trace_target"]
    assert config.remote_trace_level == data["remote_trace_level"]
    assert config.flags == int(data["flags"], 16)
    assert config.multicast_limit == data["multicast_limit"]
    assert config.is_public is (data["type"] == 1)
    assert config.mtu == data["mtu"]
    assert (serialized(config.com) if config.com else "") == (data["com"] or "")
    assert [serialized(item) for item in config.capabilities] == data["capabilities"]
    assert [serialized(item) for item in config.tags] == data["tags"]
    assert [serialized(item) for item in config.ownerships] == data["ownership"]
    assert [f"{word:016x}" for word in config.specialists] == data["specialists"]
    assert list(config.routes) == [route_of(route) for route in data["routes"]]
    assert list(config.addresses) == [prefix(text) for text in data["static_ips"]]
    assert [rule.type for rule in config.rules] == [rule["type_code"] for rule in data["rules"]]
    assert config.name == bytes.fromhex(data["name"]).decode(errors="replace")
    assert config.dns_domain == bytes.fromhex(data["dns"]["domain"]).decode(errors="replace")
    servers = [Endpoint(*prefix(text)) for text in data["dns"]["servers"] if text]
    assert list(config.dns_servers) == servers
    check_sso(config.sso, data["sso"])
    check_derived(config, data["derived"])


def check_sso(sso: SingleSignOn, data: dict[str, Any]) -> None:
    assert (sso.version, sso.enabled) == (data["version"], data["enabled"])
    assert sso.authentication_url == data["authentication_url"]
    assert sso.authentication_expiry_ms == data["authentication_expiry_time"]
    assert (sso.issuer_url, sso.central_url) == (data["issuer_url"], data["central_auth_url"])
    assert (sso.nonce, sso.state) == (data["nonce"], data["state"])
    assert sso.client_id == data["client_id"]
    if sso.enabled and sso.version == 1:
        assert sso.provider == data["provider"]


def check_derived(config: NetworkConfig, data: dict[str, Any]) -> None:
    assert config.allows_broadcast is data["broadcast_enabled"]
    assert config.emulates_ndp is data["ndp_emulation"]
    assert config.compresses_multicast is not data["compression_disabled"]
    for found, expected in (
        (config.active_bridges, data["active_bridges"]),
        (config.anchors, data["anchors"]),
        (config.replicators, data["multicast_replicators"]),
        (config.always_contact, data["always_contact"]),
    ):
        assert sorted(map(str, found)) == sorted(expected)


@pytest.mark.parametrize("case", cases("network_config.json", "encode"))
def test_encoded_by_the_original(case: dict[str, Any]) -> None:
    text = bytes.fromhex(case["dictionary"])
    config = NetworkConfig.from_dictionary(text)
    expected = case["config"] if case["parsed_back"] == "same" else case["parsed_back"]
    check(config, expected)
    if case["parsed_back"] == "same":
        assert config.to_dictionary() == text
    assert NetworkConfig.from_dictionary(config.to_dictionary()) == config


@pytest.mark.parametrize("case", cases("network_config.json", "decode"))
def test_decode(case: dict[str, Any]) -> None:
    text = bytes.fromhex(case["dictionary"])
    if not case["ok"]:
        with pytest.raises(DecodeError):
            NetworkConfig.from_dictionary(text)
        return
    check(NetworkConfig.from_dictionary(text), case["config"])


@pytest.mark.parametrize("case", cases("network_config.json", "request_metadata"))
def test_request_metadata(case: dict[str, Any]) -> None:
    text = bytes.fromhex(case["dictionary"])
    metadata = Dictionary.parse(text)
    for key, value in case["values"].items():
        found = metadata.get_uint(key) if isinstance(value, int) else metadata.get_text(key, 100)
        assert found == value
    assert metadata.encode() == text
    if case["what"].startswith("exactly"):
        assert default_metadata("linux/x86_64").encode() == text


@given(st.binary(max_size=200))
def test_noise(noise: bytes) -> None:
    text = b"v=7\nnwid=1234\nid=99\nRT=" + noise
    try:
        config = NetworkConfig.from_dictionary(text)
    except DecodeError:
        return
    assert NetworkConfig.from_dictionary(config.to_dictionary()) == config


def test_a_multicast_limit_that_no_message_can_carry() -> None:
    text = Dictionary.parse(bytes.fromhex(load("network_config.json")["cases"][0]["dictionary"]))
    text.set_uint("ml", (1 << 64) - 1)
    config = NetworkConfig.from_dictionary(text.encode())
    assert config.multicast_limit == MAX_MULTICAST_LIMIT
