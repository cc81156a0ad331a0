from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.switches import START_US, SeededEntropy, known_identities
from ztstack.base.network_id import NetworkId
from ztstack.base.trace import ListTracer
from ztstack.controller.api import handle
from ztstack.controller.controller import Controller, SendConfig, SendRevocation
from ztstack.controller.store import MemoryStore
from ztstack.wire.network_config import ConfigRequest, default_metadata

ME, A, B = known_identities()[:3]


class Api:
    """A controller and its interface."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.controller = Controller(START_US, ME, self.store, SeededEntropy(1), ListTracer())

    def ask(
        self, method: str, path: str, body: object = None, now: int = START_US
    ) -> dict[str, Any]:
        data = b"" if body is None else json.dumps(body).encode()
        status, answer = handle(self.controller, now, method, path, data)
        assert status == 200, answer
        assert isinstance(answer, dict)
        return answer

    def networks(self) -> list[str]:
        status, answer = handle(self.controller, START_US, "GET", "/controller/network", b"")
        assert status == 200
        assert isinstance(answer, list)
        return answer

    def status(self, method: str, path: str, body: bytes = b"") -> int:
        return handle(self.controller, START_US, method, path, body).status

    def create(self, **changes: object) -> str:
        created: str = self.ask("POST", f"/controller/network/{ME.address}______", changes)["id"]
        return created


def test_about() -> None:
    about = Api().ask("GET", "/controller")
    assert about == {
        "controller": True,
        "apiVersion": 4,
        "databaseReady": True,
        "clock": START_US // 1000,
    }


def test_a_network_as_tools_make_it() -> None:
    api = Api()
    network = api.create(
        name="office",
        v4AssignMode="zt",
        v6AssignMode="rfc4193,6plane",
        routes=[{"target": "10.5.0.0/24", "via": None}],
        ipAssignmentPools=[{"ipRangeStart": "10.5.0.10", "ipRangeEnd": "10.5.0.20"}],
        rules=[{"type": "MATCH_ETHERTYPE", "etherType": 2048}, {"type": "ACTION_ACCEPT"}],
        dns={"domain": "corp", "servers": ["10.5.0.1"]},
        mtu=9999,
        nonsense=1,
        revision=99,
    )
    assert network.startswith(str(ME.address))
    assert api.networks() == [network]
    found = api.ask("GET", f"/controller/network/{network}")
    assert (found["name"], found["private"], found["mtu"]) == ("office", True, 9999)
    assert found["v6AssignMode"] == {"rfc4193": True, "6plane": True, "zt": False}
    assert found["rules"][0]["etherType"] == 2048
    assert found["revision"] == 2
    changed = api.ask("PUT", f"/controller/network/{network}", {"private": False})
    assert (changed["private"], changed["name"], changed["revision"]) == (False, "office", 3)
    same = api.ask("POST", f"/controller/network/{network}", {"private": False})
    assert same["revision"] == 3
    listed = api.ask("GET", "/unstable/controller/network")
    assert (listed["data"][0]["id"], listed["meta"]) == (network, {"networkCount": 1})


def test_a_member_is_let_in_changed_and_deleted() -> None:
    api = Api()
    network = api.create(
        routes=[{"target": "10.5.0.0/24"}],
        v4AssignMode={"zt": True},
        ipAssignmentPools=[{"ipRangeStart": "10.5.0.10", "ipRangeEnd": "10.5.0.20"}],
    )
    request = ConfigRequest(NetworkId.parse(network), default_metadata())
    api.controller.receive_request(START_US, A.public, 1, request, None)
    api.controller.take_output()
    base = f"/controller/network/{network}/member"
    assert list(api.ask("GET", base)) == [str(A.address)]
    assert api.ask("GET", f"{base}/{A.address}")["authorized"] is False
    changes = {"authorized": True, "ipAssignments": ["10.5.0.99"], "tags": [[1, 2]]}
    member = api.ask("POST", f"{base}/{A.address}", changes, START_US + 1_000_000)
    assert (member["authorized"], member["ipAssignments"]) == (True, ["10.5.0.99"])
    assert member["lastAuthorizedTime"] == START_US // 1000 + 1000
    (pushed,) = api.controller.take_output()
    assert isinstance(pushed, SendConfig)
    counts = api.ask("GET", f"/unstable/controller/network/{network}/member")["meta"]
    assert counts == {"totalCount": 1, "authorizedCount": 1}
    # A change of the network reaches the members that are online.
    api.ask("POST", f"/controller/network/{network}", {"mtu": 1400}, START_US + 2_000_000)
    assert [type(o) for o in api.controller.take_output()] == [SendConfig]
    api.ask("DELETE", f"{base}/{A.address}", None, START_US + 3_000_000)
    assert [type(o) for o in api.controller.take_output()] == [SendRevocation]
    assert api.ask("GET", base) == {}


def test_a_member_put_out_is_told() -> None:
    api = Api()
    network = api.create()
    base = f"/controller/network/{network}/member/{B.address}"
    assert api.ask("POST", base, {"authorized": True})["revision"] == 1
    request = ConfigRequest(NetworkId.parse(network), default_metadata())
    api.controller.receive_request(START_US, B.public, 1, request, None)
    assert [type(o) for o in api.controller.take_output()] == [SendConfig]
    gone = api.ask("POST", base, {"authorized": False}, START_US + 5_000_000)
    assert gone["lastDeauthorizedTime"] == START_US // 1000 + 5000
    assert [type(o) for o in api.controller.take_output()] == [SendRevocation]


def test_a_deleted_network_is_gone() -> None:
    api = Api()
    network = api.create(name="short")
    assert api.ask("DELETE", f"/controller/network/{network}")["name"] == "short"
    assert api.status("GET", f"/controller/network/{network}") == 404
    assert api.store.load() == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/", b"", 404),
        ("GET", "/controller/nothing", b"", 404),
        ("DELETE", "/controller", b"", 404),
        ("GET", "/controller/network/xyz", b"", 400),
        ("GET", "/controller/network/0123456789000001", b"", 404),
        ("DELETE", "/controller/network/0123456789000001", b"", 404),
        ("GET", "/controller/network/0123456789000001/member", b"", 404),
        ("POST", "/controller/network/0123456789000001", b"{}", 400),
        ("POST", "/controller/network/0123456789______", b"{}", 400),
        ("POST", "/controller/network", b"{", 400),
        ("POST", "/controller/network", b"[]", 400),
        ("POST", "/controller/network", b'{"mtu": "big"}', 400),
        ("POST", "/controller/network", b'{"rules": [{"type": "X"}]}', 400),
    ],
)
def test_what_is_wrong(method: str, path: str, body: bytes, status: int) -> None:
    assert Api().status(method, path, body) == status
