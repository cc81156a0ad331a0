"""zt run, zt ssh and zt ssh-config: programs of the system, led through zt."""

from __future__ import annotations

import os
import shlex
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.cli import Zt
from ztcli.exit_codes import ExitCode

FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())"
WITHOUT_PASSWORD = """
import os, socket
place = os.environ["http_proxy"].rpartition("@")[2]
host, port = place.split(":")
with socket.create_connection((host, int(port))) as connection:
    connection.sendall(b"GET http://127.0.0.1:1/ HTTP/1.1\\r\\nHost: 127.0.0.1:1\\r\\n\\r\\n")
    print(connection.recv(12).decode())
"""


class _Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"hello {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        del format, args


@contextmanager
def web() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hello) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def no_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller's own settings must not lead the program past us."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")


@pytest.mark.usefixtures("no_exceptions")
def test_a_program_fetches_through_us(zt: Zt) -> None:
    with web() as port:
        url = f"http://127.0.0.1:{port}/page"
        result = zt("run", "--", sys.executable, "-c", FETCH, url)
    assert (result.code, result.stdout) == (0, b"hello /page\n"), result.stderr


def test_others_on_this_machine_need_the_password(zt: Zt) -> None:
    result = zt("run", "--", sys.executable, "-c", WITHOUT_PASSWORD)
    assert (result.code, result.stdout) == (0, b"HTTP/1.1 407\n")


@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("import sys; sys.exit(3)", 3),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143),
    ],
)
def test_the_code_is_the_programs(zt: Zt, script: str, code: int) -> None:
    result = zt("run", "--", sys.executable, "-c", script)
    assert (result.code, result.stderr) == (code, "")


def test_it_has_our_input(zt: Zt) -> None:
    result = zt(
        "run",
        *("--", sys.executable, "-c", "import sys; print(sys.stdin.read()[::-1])"),
        stdin=b"abc",
    )
    assert result.stdout == b"cba\n"


def test_there_is_no_such_program(zt: Zt) -> None:
    result = zt("run", "--", "no-such-program")
    assert result.code == ExitCode.USAGE
    assert "no-such-program: No such file or directory" in result.stderr


@pytest.fixture
def fake_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that tells its words; the real ssh is run in tests/netns."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "ssh"
    script.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.usefixtures("fake_ssh")
def test_ssh_gets_its_words_and_our_options(zt: Zt, tmp_path: Path) -> None:
    state = tmp_path / "100% of it"
    result = zt("--state", str(state), "-n", "8056c2e21c000001", "ssh", "-n", "-p", "22", "me@nas")
    lines = result.stdout.decode().splitlines()
    assert result.code == 0, result.stderr
    assert lines[0] == "-o"
    assert lines[2:] == ["-n", "-p", "22", "me@nas"]
    name, _, command = lines[1].partition("=")
    assert name == "ProxyCommand"
    assert shlex.split(command.replace("%%", "%")) == [
        *(sys.executable, "-m", "ztcli"),
        *("--network", "8056c2e21c000001", "--state", str(state)),
        *("call", "--stdio", "%h", "%p"),
    ]


def test_passwords_are_not_written_down(zt: Zt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZT_UPSTREAM_PROXY", "http://proxy:8080")
    assert b"--upstream-proxy http://proxy:8080" in zt("ssh-config").stdout
    monkeypatch.setenv("ZT_UPSTREAM_PROXY", "http://me:word@proxy:8080")
    result = zt("ssh-config")
    assert result.code == 0
    assert b"word" not in result.stdout


def test_a_block_for_ssh(zt: Zt) -> None:
    result = zt("--profile", "ci", "ssh-config", "--host", "*.zt", "--host", "10.147.*")
    text = result.stdout.decode()
    assert text.startswith("Host *.zt 10.147.*\n    ProxyCommand ")
    assert text.endswith(" --profile ci call --stdio %h %p\n")


def test_a_block_is_put_into_the_file_once(zt: Zt) -> None:
    where = zt.home / ".ssh" / "config"
    where.parent.mkdir(parents=True)
    where.write_text("Host *\n    Compression yes\n")
    where.chmod(0o640)
    for pattern in ("*.one", "*.two"):
        result = zt("ssh-config", "--install", "--host", pattern)
        assert (result.code, result.stdout) == (0, b"")
    text = where.read_text()
    assert "*.one" not in text
    assert text.count("Host *.two") == 1
    assert text.endswith("Host *\n    Compression yes\n")
    assert where.stat().st_mode & 0o777 == 0o640
    assert list(where.parent.iterdir()) == [where]


def test_a_pattern_that_is_none(zt: Zt) -> None:
    result = zt("ssh-config", "--host", "a\nProxyCommand evil")
    assert result.code == ExitCode.USAGE
    assert "not a pattern" in result.stderr
