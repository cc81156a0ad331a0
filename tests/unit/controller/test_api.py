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
        "address": str(ME.address),
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
    assert found["revision"] == 1
    changed = api.ask("PUT", f"/controller/network/{network}", {"private": False})
    assert (changed["private"], changed["name"], changed["revision"]) == (False, "office", 2)
    same = api.ask("POST", f"/controller/network/{network}", {"private": False})
    assert same["revision"] == 2
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
    (listed,) = api.ask("GET", "/unstable/controller/network")["data"]
    assert listed["meta"] == {"totalMemberCount": 1, "authorizedMemberCount": 1}
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
        ("PATCH", "/controller", b"", 404),
        ("POST", "/controller/network", b"[" * 100_000, 400),
        ("POST", f"/controller/network/{ME.address}000000", b"{}", 400),
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


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"name": 5}, "name"),
        ({"private": "no"}, "private"),
        ({"routes": [{"target": "x/8"}]}, "target"),
        ({"routes": [{}]}, "target"),
        ({"ipAssignmentPools": [{"ipRangeStart": "10.0.0.1"}]}, "ipRangeEnd"),
        ({"rules": [{"type": "ACTION_DROP"}, {"type": "MATCH_ICMP"}]}, "icmpType"),
        ({"rules": [{"type": "ACTION_ACCEPT"}] * 1025}, "rules"),
        ({"capabilities": [{"id": -1}]}, "id"),
        ({"tags": 7}, "tags"),
        ({"dns": {"servers": ["x"]}}, "servers"),
        ({"v6AssignMode": {"zt": 1}}, "zt"),
        ({"authTokens": {"a": True}}, "authTokens"),
        ({"remoteTraceTarget": "me"}, "remoteTraceTarget"),
    ],
)
def test_a_bad_field_is_named_and_nothing_changes(changes: dict[str, object], named: str) -> None:
    api = Api()
    network = api.create(name="kept")
    before = api.ask("GET", f"/controller/network/{network}")
    body = json.dumps({"name": "new", "mtu": 1400, **changes}).encode()
    for path in (f"/controller/network/{network}", "/controller/network"):
        answer = handle(api.controller, START_US, "POST", path, body)
        assert answer.status == 400
        assert isinstance(answer.body, dict)
        assert named in answer.body["error"]
    assert api.ask("GET", f"/controller/network/{network}") == before
    assert api.networks() == [network]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"authorized": 1}, "authorized"),
        ({"ipAssignments": ["10.0.0.0/8"]}, "ipAssignments"),
        ({"tags": [[1]]}, "tags"),
        ({"capabilities": ["x"]}, "capabilities"),
    ],
)
def test_a_bad_field_of_a_member(changes: dict[str, object], named: str) -> None:
    api = Api()
    base = f"/controller/network/{api.create()}/member"
    answer = handle(
        api.controller, START_US, "POST", f"{base}/{A.address}", json.dumps(changes).encode()
    )
    assert answer.status == 400
    assert isinstance(answer.body, dict)
    assert named in answer.body["error"]
    assert api.ask("GET", base) == {}


def test_what_the_official_controller_shows_can_be_sent_back() -> None:
    api = Api()
    path = f"/controller/network/{api.create(tags=[{'id': 5}, {'id': 2, 'default': 1}])}"
    shown = api.ask("GET", path)
    assert (shown["authTokens"], shown["dns"]) == ([None], [])
    assert shown["tags"] == [{"id": 2, "default": 1}, {"id": 5, "default": None}]
    assert api.ask("POST", path, shown) == shown
    api.ask("POST", path, {"authTokens": {"t": 0}, "rulesSource": "accept;"})
    after = api.ask("POST", path, {"rules": [{"type": "ACTION_DROP"}]})
    assert (after["authTokens"], after["rulesSource"]) == ({"t": 0}, "")
    member = api.ask("POST", f"{path}/member/{A.address}", {"name": "printer"})
    assert api.ask("POST", f"{path}/member/{A.address}", member) == member
