"""zt up, zt wait, --authorize and --health, on a network that is this machine's loopback."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.cli import Zt, failing
from tests.support.os_engine import OsEngine
from tests.support.serving import serving
from ztcli import controller_api, engine_member, health, http_transport
from ztcli.commands import expose, forward, join, listen_run, proxy, up, wait
from ztcli.engine import Engine, Pong
from ztcli.engines import around
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode
from ztcli.options import Settings

NWID = "8056c2e21c000001"
NODE = "a1b2c3d4e5"
LOADED = (controller_api, engine_member, health, http_transport)
COMMANDS = (expose, forward, join, listen_run, proxy, up, wait)
"""Here, and not in a thread while pytest rewrites them."""


def factory(env: Environment, settings: Settings) -> Engine:
    return around(env, settings, OsEngine())


@pytest.fixture
def zt(tmp_path: Path) -> Zt:
    return Zt(tmp_path, factory)


# zt up.

ENTRIES = """\
[[forward]]
name = "one"
spec = "0:127.0.0.1:9"
[[expose]]
port = "0:127.0.0.1:9"
max_conns = 3
allow = ["a1b2c3d4e5"]
[proxy]
listen = "127.0.0.1:0"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(ENTRIES)
    return path


def test_up_starts_everything(zt: Zt, file: Path) -> None:
    with serving(zt, "--config", str(file), "up") as running:
        entries = running.ready["entries"]
    assert [entry["name"] for entry in entries] == ["one", "0:127.0.0.1:9", "proxy"]
    assert [entry["mode"] for entry in entries] == ["forward", "expose", "proxy"]
    lines = running.stdout.decode().splitlines()
    assert [line.split(":")[0] for line in lines] == ["Forward", "Expose", "Proxy"]


def test_up_starts_what_is_named(zt: Zt, file: Path) -> None:
    with serving(zt, "--config", str(file), "up", "proxy") as running:
        assert [entry["name"] for entry in running.ready["entries"]] == ["proxy"]
    unknown = zt("--config", str(file), "up", "two")
    assert (unknown.code, "one, 0:127.0.0.1:9, proxy" in unknown.stderr) == (ExitCode.USAGE, True)


def test_up_dry_run_starts_nothing(file: Path, tmp_path: Path) -> None:
    zt = Zt(tmp_path, failing(AssertionError("a node was started")))
    table = zt("--config", str(file), "up", "--dry-run").stdout.decode().splitlines()
    assert table == [
        "NAME\tCOMMAND",
        "one\tzt forward 0:127.0.0.1:9",
        "0:127.0.0.1:9\tzt expose 0:127.0.0.1:9 --max-conns 3 --allow a1b2c3d4e5",
        "proxy\tzt proxy --listen 127.0.0.1:0",
    ]
    told = json.loads(zt("--config", str(file), "up", "--dry-run", "one", "--json").stdout)
    expected = {"name": "one", "command": "forward", "options": {"specs": ["0:127.0.0.1:9"]}}
    assert told["entries"] == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "there is nothing to start"),
        ("[[forward]]\nname = 'a'\nspec = 'x'", "a: a forward is"),
        ("[[forward]]\nname = 'a'\nspec = '-:h:1'", "a: stdin and stdout"),
        ("[[expose]]\nname = 'b'\nport = 0", "b: a port is a number from 1"),
        ("[proxy]\nlisten = '0.0.0.0:0'", "proxy: --listen 0.0.0.0"),
    ],
)
def test_up_refuses(zt: Zt, file: Path, text: str, expected: str) -> None:
    file.write_text(text)
    done = zt("--config", str(file), "up", "--dry-run")
    assert (done.code, expected in done.stderr) == (ExitCode.USAGE, True), done.stderr


def test_up_names_what_could_not_start(zt: Zt, file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file.write_text(ENTRIES.replace("127.0.0.1:0", f"127.0.0.1:{port}"))
        done = zt("--config", str(file), "up")
    assert done.code == ExitCode.PORT_IN_USE
    assert done.stderr.startswith("zt: proxy: ")
    assert done.stdout == b""


# zt wait.


def waiting(home: Path, *pongs: Pong | None) -> Zt:
    return Zt(home, lambda env, settings: around(env, settings, OsEngine(pongs=pongs)))


def pong(link: str) -> Pong:
    return Pong(NODE, "10.0.0.1", 1.0, link, "", "")


def test_wait_for_what_is_there(zt: Zt) -> None:
    assert zt("wait").code == 0
    with serving(zt, "listen", "0", "--mode", "http") as running:
        place = f"127.0.0.1:{running.port}"
        done = zt("wait", "--for", "online", "--for", "ip", "--for", f"tcp={place}", "--json")
        assert done.code == 0, done.stderr
        told = [json.loads(line)["for"] for line in done.stdout.splitlines()]
        assert told == ["online", "ip", f"tcp={place}"]
        assert zt("wait", "--for", f"http=http://{place}/").code == 0


def test_wait_until_it_comes(tmp_path: Path) -> None:
    zt = waiting(tmp_path, None, pong("relay"), pong("direct"))
    assert zt("wait", "--for", f"direct={NODE}").code == 0
    assert waiting(tmp_path, pong("relay"))("wait", "--for", "peer=10.0.0.1").code == 0


@pytest.mark.parametrize(
    ("what", "pongs", "code"),
    [
        (f"direct={NODE}", (pong("relay"),), ExitCode.RELAYED_ONLY),
        (f"peer={NODE}", (), ExitCode.TIMED_OUT),
        ("tcp=127.0.0.1:1", (), ExitCode.CANNOT_CONNECT),
        ("http=http://127.0.0.1:1/", (), ExitCode.CANNOT_CONNECT),
    ],
)
def test_wait_in_vain(
    tmp_path: Path, what: str, pongs: tuple[Pong | None, ...], code: ExitCode
) -> None:
    done = waiting(tmp_path, *pongs)("wait", "--for", what, "--timeout", "1500ms")
    assert done.code == code, done.stderr
    assert f"{what}: not in time" in done.stderr


def test_wait_ends_at_once_where_patience_is_in_vain(tmp_path: Path) -> None:
    denied = CommandError("no", ExitCode.ACCESS_DENIED)
    done = Zt(tmp_path, failing(denied))("wait", "--for", "ip", "--timeout", "1h")
    assert done.code == ExitCode.ACCESS_DENIED


@pytest.mark.parametrize("what", ["", "ip=1", "peer", "peer=", "tcp=host", "http=tcp://a:1", "x"])
def test_wait_refuses(zt: Zt, what: str) -> None:
    assert zt("wait", "--for", what).code == ExitCode.USAGE


# --authorize.


class Controller(BaseHTTPRequestHandler):
    """Notes what it is asked, and answers as its server says."""

    def do_POST(self) -> None:
        self._note()

    def do_DELETE(self) -> None:
        self._note()

    def _note(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        secret = self.headers.get("X-ZT1-Auth") or self.headers.get("Authorization")
        asked = (self.command, self.path, secret, json.loads(body or b"null"))
        self.server.asked.append(asked)  # type: ignore[attr-defined]  # see `controller`
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def controller(status: int = 200) -> Iterator[tuple[str, list[object]]]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Controller) as server:
        asked: list[object] = []
        server.asked, server.status = asked, status  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


ALLOWED = {"authorized": True}


@pytest.mark.parametrize(
    ("path", "place", "secret", "wish"),
    [
        ("", "/controller/network", "s3cret", ALLOWED),
        ("/controller", "/controller/network", "s3cret", ALLOWED),
        ("/api/v1", "/api/v1/network", "token s3cret", {"config": ALLOWED}),
    ],
)
def test_a_member_comes_and_goes(
    zt: Zt, path: str, place: str, secret: str, wish: dict[str, object]
) -> None:
    zt.variables["ZT_TOKEN"] = "s3cret\n"
    member = f"{place}/{NWID}/member/{NODE}"
    with controller() as (url, asked):
        done = zt("join", "--once", "--authorize", "--controller", url + path, "-n", NWID)
        assert done.code == 0, done.stderr
        assert asked == [("POST", member, secret, wish)]
        done = zt("ip", "--ephemeral", "--authorize", "--controller", url + path, "-n", NWID)
        assert done.code == 0, done.stderr
        assert asked[1:] == [("POST", member, secret, wish), ("DELETE", member, secret, None)]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, ExitCode.FORBIDDEN),
        (404, ExitCode.NETWORK_NOT_FOUND),
        (500, ExitCode.HTTP_STATUS),
    ],
)
def test_a_controller_that_refuses(zt: Zt, tmp_path: Path, status: int, code: ExitCode) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret")
    options = ("--ephemeral", "--authorize", "--token-file", str(token), "-n", NWID)
    with controller(status) as (url, asked):
        done = zt("join", "--once", *options, "--controller", url)
    assert done.code == code
    assert "could not be authorised" in done.stderr
    assert "s3cret" not in done.stderr
    # It may have let us in before it failed.
    assert len(asked) == 2
    gone = zt("join", "--once", *options, "--controller", url)
    assert gone.code == ExitCode.CANNOT_CONNECT
    assert f"{NODE} is still a member of {NWID}" in gone.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--authorize",),
        ("--authorize", "--token-file", "/nonexistent"),
        ("--authorize", "--token-file", "-"),
        ("--authorize", "--token-file", "-", "--controller", "ftp://x"),
    ],
)
def test_authorize_refuses(zt: Zt, words: tuple[str, ...]) -> None:
    done = zt("join", "--once", *words, "-n", NWID)
    assert done.code in (ExitCode.USAGE, ExitCode.CANNOT_READ)


# --health.


def test_health_tells_where_it_is(zt: Zt) -> None:
    with serving(zt, "proxy", "--listen", "0", "--health", "0") as running:
        pass
    assert running.stderr.startswith("Health: http://127.0.0.1:")


def fetched(url: str, method: str = "GET") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method)) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_what_health_says(zt: Zt) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        taken = held.getsockname()[1]
        assert zt("join", "--health", str(taken)).code == ExitCode.PORT_IN_USE
    with serving(zt, "join", "--health", "localhost:0") as running:
        url = running.said.getvalue().split()[1].removesuffix("/readyz")
        assert fetched(f"{url}/livez") == (200, "ok\n")
        assert fetched(f"{url}/readyz?verbose") == (200, "ok\n")
        assert fetched(f"{url}/readyz", "POST")[0] == 405
        assert fetched(f"{url}/") == (404, "/livez, /readyz or /metrics\n")
        status, text = fetched(f"{url}/metrics")
        lines = text.splitlines()
        assert status == 200
        assert f'zt_node{{node="{NODE}",version="1.14.1"}} 1.0' in lines
        assert f'zt_network_ok{{network="{NWID}",status="OK"}} 1.0' in lines
        assert 'zt_peers{link="direct"} 1.0' in lines
        assert 'zt_dropped_packets_total{reason="bad mac"} 2.0' in lines


def test_health_refuses(zt: Zt) -> None:
    assert zt("join", "--health", "nowhere").code == ExitCode.USAGE
    overlay = zt("join", "--health", "0", "--stack", "overlay")
    assert overlay.code == ExitCode.USAGE
