"""zt network: on the records of a state directory, and by HTTP on any controller."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import Zt
from tests.support.switches import START_US, SeededEntropy, known_identities
from ztcli.exit_codes import ExitCode
from ztstack.aio.controller_asgi import HttpServer, ServedNode, application
from ztstack.base.trace import ListTracer
from ztstack.controller.controller import Controller
from ztstack.controller.store import MemoryStore

ME, A = known_identities()[:2]
NODE = str(A.address)
TOKEN = "0123456789abcdefghijklmn"
RULES = "drop not ethertype ipv4 and not ethertype arp;\ntag kind id 5 default 1;\naccept;\n"


@pytest.fixture
def http() -> Iterator[tuple[str, ...]]:
    """Serve a controller by HTTP in a thread; give the options that lead to it."""
    machine = Controller(START_US, ME, MemoryStore(), SeededEntropy(1), ListTracer())
    app = application(ServedNode(machine, lambda: START_US, lambda: None, dict), TOKEN)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    ready, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()

    async def serve() -> None:
        server = HttpServer(app, listener)
        await server.start()
        ready.set()
        await stop.wait()
        await server.stop()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(10.0)
    yield ("--controller", f"http://127.0.0.1:{listener.getsockname()[1]}")
    loop.call_soon_threadsafe(stop.set)
    thread.join(10.0)
    loop.close()


@pytest.fixture
def state(tmp_path: Path) -> tuple[str, ...]:
    """Give the options that lead to a controller that does not run."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    path = folder / "identity.secret"
    path.write_text(ME.secret_text())
    path.chmod(0o600)
    return ("--state", str(folder))


@pytest.fixture(params=["state", "http"])
def where(request: pytest.FixtureRequest) -> tuple[str, ...]:
    found: tuple[str, ...] = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def zt(tmp_path: Path) -> Zt:
    return Zt(tmp_path, variables={"ZT_TOKEN": TOKEN})


def ok(zt: Zt, *arguments: str, stdin: bytes = b"") -> str:
    done = zt(*arguments, stdin=stdin)
    assert done.code == 0, done.stderr
    return done.stdout.decode()


def as_json(zt: Zt, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ok(zt, *arguments, "--json"))
    return found


def test_the_life_of_a_network(zt: Zt, where: tuple[str, ...]) -> None:
    pools = ("--pool", "10.1.2.0/24", "--pool", "fd77::/64")
    network = ok(zt, "network", "create", *where, "--name", "office", *pools).strip()
    assert network.startswith(str(ME.address))
    line = f"{network}\toffice\tprivate\t2800\t10.1.2.1-10.1.2.254,fd77::-fd77::ffff:ffff:ffff:ffff"
    assert ok(zt, "network", "list", *where).splitlines() == ["NWID\tNAME\tTYPE\tMTU\tPOOLS", line]
    shown = as_json(zt, "network", "show", *where, network)
    assert (shown["v4AssignMode"], shown["v6AssignMode"]) == (
        {"zt": True},
        {"rfc4193": True, "6plane": False, "zt": True},
    )
    assert [route["target"] for route in shown["routes"]] == ["10.1.2.0/24", "fd77::/64"]

    changes = ("--mtu", "1400", "--public", "--6plane", "--dns", "corp,10.1.2.1", "--no-broadcast")
    printed = ok(zt, "network", "set", *where, network, *changes).splitlines()
    assert "MTU: 1400" in printed
    assert "Type: public" in printed
    assert "Assigned: v4, v6, rfc4193, 6plane" in printed
    assert "DNS: corp 10.1.2.1" in printed
    routed = as_json(
        zt, "network", "set", *where, network, "--route", "10.0.0.0/8,10.1.2.1",
        "--pool", "10.9.0.5-10.9.0.9",
    )  # fmt: skip
    assert routed["routes"] == [
        {"target": "10.0.0.0/8", "via": "10.1.2.1"},
        {"target": "10.9.0.0/24", "via": None},
    ]
    assert routed["v6AssignMode"] == {"rfc4193": True, "6plane": True, "zt": False}
    assert (routed["name"], routed["mtu"]) == ("office", 1400)
    assert "deleted" in ok(zt, "network", "delete", *where, network)
    assert ok(zt, "network", "list", *where).splitlines() == ["NWID\tNAME\tTYPE\tMTU\tPOOLS"]


def test_members(zt: Zt, where: tuple[str, ...]) -> None:
    network = ok(zt, "network", "create", *where, "--pool", "10.1.2.0/24").strip()
    given = ("--name", "printer", "--ip", "10.1.2.9", "--ip", "fd77::9", "--bridge")
    let_in = as_json(zt, "network", "authorize", *where, network, NODE, *given)
    assert (let_in["authorized"], let_in["name"], let_in["activeBridge"]) == (True, "printer", True)
    again = as_json(zt, "network", "authorize", *where, network, NODE)
    assert again["ipAssignments"] == ["10.1.2.9", "fd77::9"]
    listed = ok(zt, "network", "members", *where, network)
    assert f"{NODE}\tyes\t-\t10.1.2.9,fd77::9" in listed
    out = ok(zt, "network", "deauthorize", *where, "-n", network, NODE)
    assert out == f"{NODE} not authorized\n"
    assert f"{NODE}\tno" in ok(zt, "network", "members", *where, "-n", network)


def test_tags_and_capabilities_of_a_member(zt: Zt, where: tuple[str, ...]) -> None:
    network = ok(zt, "network", "create", *where).strip()
    given = ("--tag", "5=2", "--tag", "4=1", "--capability", "9", "--capability", "7")
    member = as_json(zt, "network", "authorize", *where, network, NODE, *given)
    assert (member["tags"], member["capabilities"]) == ([[4, 1], [5, 2]], [7, 9])
    member = as_json(zt, "network", "authorize", *where, network, NODE, "--tag", "5=3")
    assert (member["tags"], member["capabilities"]) == ([[5, 3]], [7, 9])


def test_rules_from_text_and_json(zt: Zt, where: tuple[str, ...], tmp_path: Path) -> None:
    network = ok(zt, "network", "create", *where).strip()
    rules, compiled = tmp_path / "rules", tmp_path / "rules.json"
    rules.write_text(RULES)
    said = ok(zt, "network", "rules", *where, network, str(rules))
    assert said == "4 rules, 0 capabilities, 1 tags\n"
    assert ok(zt, "network", "rules", *where, network) == RULES
    as_text = ok(zt, "network", "rules", *where, network, "--json")
    compiled.write_text(as_text)
    plain = ok(zt, "network", "rules", *where, network, "-", stdin=b'[{"type": "ACTION_DROP"}]')
    assert plain.startswith("1 rules")
    assert json.loads(ok(zt, "network", "rules", *where, network))["rules"] == [
        {"type": "ACTION_DROP"}
    ]
    ok(zt, "network", "rules", *where, network, str(compiled))
    assert ok(zt, "network", "rules", *where, network, "--json") == as_text
    # As the official compiler writes it.
    official = json.dumps({"config": json.loads(as_text), "tagsByName": {}})
    ok(zt, "network", "rules", *where, network, "-", stdin=official.encode())
    assert ok(zt, "network", "rules", *where, network, "--json") == as_text


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "words"),
    [
        (("show", "0123456789000001"), b"", ExitCode.NETWORK_NOT_FOUND, "0123456789000001"),
        (("members", "0123456789000001"), b"", ExitCode.NETWORK_NOT_FOUND, "0123456789000001"),
        (("create", "--pool", "10.0.0.0"), b"", ExitCode.USAGE, "pool"),
        (("create", "--name", "x" * 128), b"", ExitCode.USAGE, "name"),
        (("set", "NETWORK"), b"", ExitCode.USAGE, "nothing"),
        (("set", "NETWORK", "--route", "x"), b"", ExitCode.USAGE, "target"),
        (("set", "NETWORK", "--dns", "a,b"), b"", ExitCode.USAGE, "servers"),
        (("deauthorize", "NETWORK", NODE), b"", ExitCode.NETWORK_NOT_FOUND, NODE),
        (("authorize", "NETWORK", NODE, "--ip", "x"), b"", ExitCode.USAGE, "ipAssignments"),
        (("authorize", "NETWORK", NODE, "--tag", "a=1"), b"", ExitCode.USAGE, "1000=2"),
        (("authorize", "NETWORK", NODE, "--tag", "1=4294967296"), b"", ExitCode.USAGE, "tags"),
        (("rules", "NETWORK", "-"), b"permit;", ExitCode.USAGE, "line 1"),
        (("rules", "NETWORK", "-"), b"[", ExitCode.USAGE, "JSON"),
        (("rules", "NETWORK", "-"), b"{}", ExitCode.USAGE, "no rules"),
        (("rules", "NETWORK", "-"), b'[{"type": "X"}]', ExitCode.USAGE, "rules[0]"),
        (("rules", "NETWORK", "-"), b"\xff", ExitCode.CANNOT_READ, "text"),
        (("rules", "NETWORK", "/nowhere"), b"", ExitCode.CANNOT_READ, "/nowhere"),
    ],
)
def test_what_is_wrong(
    zt: Zt,
    http: tuple[str, ...],
    arguments: tuple[str, ...],
    stdin: bytes,
    code: ExitCode,
    words: str,
) -> None:
    network = ok(zt, "network", "create", *http).strip()
    before = as_json(zt, "network", "show", *http, network)
    given = [network if part == "NETWORK" else part for part in arguments]
    done = zt("network", given[0], *http, *given[1:], stdin=stdin)
    assert done.code == code, done.stderr
    assert words in done.stderr
    assert as_json(zt, "network", "show", *http, network) == before


def test_a_public_network_puts_nobody_out(zt: Zt, where: tuple[str, ...]) -> None:
    network = ok(zt, "network", "create", *where, "--public").strip()
    ok(zt, "network", "authorize", *where, network, NODE)
    done = zt("network", "deauthorize", *where, network, NODE)
    assert done.code == ExitCode.USAGE
    assert "public" in done.stderr


def test_the_token(zt: Zt, http: tuple[str, ...], tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("wrong\n")
    # What is named counts before what is in the environment.
    denied = zt("network", "list", *http, "--token-file", str(token))
    assert denied.code == ExitCode.FORBIDDEN
    token.write_text(f"{TOKEN}\n")
    ok(Zt(tmp_path), "network", "list", *http, "--token-file", str(token))
    ok(Zt(tmp_path), "network", "list", *http, "--token-file", "-", stdin=TOKEN.encode())
    assert Zt(tmp_path)("network", "list", *http).code == ExitCode.USAGE
    state = tmp_path / "own"
    state.mkdir(mode=0o700)
    (state / "authtoken.secret").write_text(TOKEN)
    ok(Zt(tmp_path), "network", "list", *http, "--state", str(state))


def test_no_controller(zt: Zt, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert zt("network", "list", "--controller", url).code == ExitCode.CANNOT_CONNECT
    assert zt("network", "list", "--controller", "nowhere").code == ExitCode.USAGE
    done = zt("network", "list", "--state", str(tmp_path / "none"))
    assert done.code != 0
    assert "zt controller run" in done.stderr


def test_the_id_of_an_adhoc_network(zt: Zt) -> None:
    done = zt("network", "adhoc", "22-8080")
    assert done.stdout == b"ff00161f90000000\n"
    assert "public" in done.stderr
    assert ok(zt, "network", "adhoc", "443") == "ff01bb01bb000000\n"
    for wrong in ("", "x", "22-", "80-22", "0-65536", "-1", "1-2-3"):
        assert zt("network", "adhoc", "--", wrong).code == ExitCode.USAGE
