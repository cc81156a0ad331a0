"""zt call with HTTP: what is sent, what is printed, and the codes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.cli import Zt, free_port, peer
from ztcli.exit_codes import ExitCode


def answering(answer: bytes, seen: list[bytes] | None = None) -> object:
    def serve(connection: socket.socket) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        chunked = b"transfer-encoding: chunked" in head.lower()
        while len(body) < length or (chunked and not body.endswith(b"0\r\n\r\n")):
            body += connection.recv(65536)
        if seen is not None:
            seen.append(head + b"\r\n\r\n" + body)
        connection.sendall(answer)

    return serve


@contextmanager
def server(answers: list[bytes]) -> Iterator[int]:
    """Serve as many connections as there are answers, or fewer; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            for answer in answers:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    answering(answer)(connection)  # type: ignore[operator]

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listening.getsockname()[1])
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        assert not thread.is_alive()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n\x00body"


def fetch(zt: Zt, answer: bytes, *arguments: str, stdin: bytes = b"") -> tuple[object, bytes]:
    seen: list[bytes] = []
    with peer(answering(answer, seen)) as port:  # type: ignore[arg-type]
        result = zt("call", f"http://127.0.0.1:{port}/x", *arguments, stdin=stdin)
    return result, seen[0]


def test_body_alone_on_stdout(zt: Zt) -> None:
    result, seen = fetch(zt, OK)
    assert (result.code, result.stdout, result.stderr) == (0, b"\x00body", "")  # type: ignore[attr-defined]
    assert seen.startswith(b"GET /x HTTP/1.1\r\n")
    assert b"\r\nUser-Agent: zt\r\n" in seen


@pytest.mark.parametrize(
    ("arguments", "start", "body"),
    [
        (["-d", "a=1", "-d", "b=2"], b"POST", b"a=1&b=2"),
        (["-d", "@-"], b"POST", b"from stdin"),
        (["--data-binary", "@-"], b"POST", b"from\nstdin"),
        (["--json-data", "{}"], b"POST", b"{}"),
        (["-X", "DELETE"], b"DELETE", b""),
        (["-T", "-"], b"PUT", b"a\r\nfrom\nstdin\r\n0\r\n\r\n"),
    ],
)
def test_bodies(zt: Zt, arguments: list[str], start: bytes, body: bytes) -> None:
    stdin = b"from\nstdin" if body != b"from stdin" else b"from stdin\n"
    result, seen = fetch(zt, OK, *arguments, stdin=stdin)
    assert result.code == 0  # type: ignore[attr-defined]
    assert seen.startswith(start + b" ")
    assert seen.endswith(b"\r\n\r\n" + body)


def test_headers_and_user(zt: Zt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZT_USER", "user:word")
    _, seen = fetch(zt, OK, "-H", "X-One: 1", "-A", "me")
    assert b"\r\nX-One: 1\r\n" in seen
    assert b"\r\nUser-Agent: me\r\n" in seen
    assert b"\r\nAuthorization: Basic dXNlcjp3b3Jk\r\n" in seen


@pytest.mark.parametrize(
    "arguments", [["-u", "user:word"], ["--proxy", "http://user:word@proxy:8080"]]
)
def test_passwords_are_not_for_the_command_line(zt: Zt, arguments: list[str]) -> None:
    result = zt("call", "http://127.0.0.1:1/", *arguments)
    assert result.code == ExitCode.USAGE
    assert "word" not in result.stderr.replace("password", "")


def test_password_of_a_file(zt: Zt, tmp_path: Path) -> None:
    (tmp_path / "word").write_text("word\n")
    _, seen = fetch(zt, OK, "-u", "user", "--password-file", str(tmp_path / "word"))
    assert b"\r\nAuthorization: Basic dXNlcjp3b3Jk\r\n" in seen


@pytest.mark.parametrize("tries", [1, 2])
def test_refusals_of_the_moment_are_retried(zt: Zt, tries: int) -> None:
    answers = [b"HTTP/1.1 503 Later\r\nContent-Length: 5\r\n\r\nlater", OK]
    with server(answers) as port:
        result = zt(
            "call", f"http://127.0.0.1:{port}/", "--retry", str(tries - 1), "--retry-delay", "0"
        )
    assert result.stdout == (b"later" if tries == 1 else b"\x00body")


def test_what_was_read_from_stdin_is_not_sent_twice(zt: Zt) -> None:
    answers = [b"HTTP/1.1 503 Later\r\nContent-Length: 5\r\n\r\nlater", OK]
    with server(answers) as port:
        url = f"http://127.0.0.1:{port}/"
        result = zt("call", url, "-T", "-", "--retry", "3", "--retry-delay", "0", stdin=b"once")
    assert result.stdout == b"later"


def test_head_is_included(zt: Zt) -> None:
    result, _ = fetch(zt, OK, "-i")
    assert result.stdout == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n\x00body"  # type: ignore[attr-defined]


def test_output_file(zt: Zt, tmp_path: Path) -> None:
    result, _ = fetch(zt, OK, "-o", str(tmp_path / "f"), "-w", "%{http_code} %{path}\\n")
    assert result.stdout == b"200 direct\n"  # type: ignore[attr-defined]
    assert (tmp_path / "f").read_bytes() == b"\x00body"


@pytest.mark.parametrize(
    ("answer", "arguments", "code"),
    [
        (b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", [], ExitCode.OK),
        (b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", ["-f"], ExitCode.HTTP_STATUS),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", [], ExitCode.BODY_TOO_SHORT),
        (b"", [], ExitCode.EMPTY_REPLY),
        (b"SSH-2.0-x\r\n\r\n", [], ExitCode.CONNECTION_LOST),
        (OK, ["-o", "/nowhere/file"], ExitCode.CANNOT_WRITE),
    ],
)
def test_exit_codes(zt: Zt, answer: bytes, arguments: list[str], code: ExitCode) -> None:
    result, _ = fetch(zt, answer, *arguments)
    assert result.code == code  # type: ignore[attr-defined]


def test_redirects(zt: Zt) -> None:
    with peer(answering(OK)) as second:  # type: ignore[arg-type]
        moved = b"HTTP/1.1 302 F\r\nContent-Length: 0\r\nLocation: http://127.0.0.1:%d/\r\n\r\n"
        result, _ = fetch(zt, moved % second, "-L", "-w", "%{num_redirects}")
    assert (result.code, result.stdout) == (0, b"\x00body1")  # type: ignore[attr-defined]


def test_too_many_redirects(zt: Zt) -> None:
    moved = b"HTTP/1.1 302 F\r\nContent-Length: 0\r\nLocation: /\r\n\r\n"
    result, _ = fetch(zt, moved, "-L", "--max-redirs", "0")
    assert result.code == ExitCode.TOO_MANY_REDIRECTS  # type: ignore[attr-defined]


def test_refused(zt: Zt) -> None:
    assert zt("call", f"http://127.0.0.1:{free_port()}/").code == ExitCode.CANNOT_CONNECT


def test_input_file_is_missing(zt: Zt) -> None:
    assert zt("call", "http://127.0.0.1:1/", "-d", "@/nowhere").code == ExitCode.CANNOT_READ


def test_not_tls(zt: Zt) -> None:
    with peer(lambda connection: connection.sendall(OK)) as port:
        result = zt("call", f"https://127.0.0.1:{port}/", "-k", "--timeout", "5s")
    assert result.code in (ExitCode.TLS_FAILED, ExitCode.CONNECTION_LOST)
