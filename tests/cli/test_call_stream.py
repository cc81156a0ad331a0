"""zt call with streams: the contract about the ends of both directions."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from tests.support.cli import Zt, free_port, open_pipe, peer, receive_all
from tests.support.os_engine import reset
from tests.support.peers import missing
from ztcli.exit_codes import ExitCode


def test_reply_after_our_end(zt: Zt) -> None:
    def late(connection: socket.socket) -> None:
        got = receive_all(connection)
        time.sleep(0.3)
        connection.sendall(b"got " + got)

    with peer(late) as port:
        result = zt("call", "127.0.0.1", str(port), stdin=b"hi")
    assert (result.code, result.stdout, result.stderr) == (0, b"got hi", "")


def test_peer_ends_while_stdin_is_open(zt: Zt) -> None:
    with open_pipe() as stdin, peer(lambda c: c.sendall(b"greeting")) as port:
        start = time.monotonic()
        result = zt("call", "127.0.0.1", str(port), stdin=stdin)
    assert (result.code, result.stdout) == (0, b"greeting")
    assert time.monotonic() - start < 1.0


def test_a_child_that_is_gone_before_the_answer_comes(zt: Zt) -> None:
    received = []

    def talkative(connection: socket.socket) -> None:
        received.append(receive_all(connection))
        for _ in range(3):
            time.sleep(0.1)
            connection.sendall(b"answer")

    with peer(talkative) as port:
        result = zt("call", "127.0.0.1", str(port), "--exec", "echo hi")
    assert (result.code, result.stderr) == (0, "")
    assert received == [b"hi\n"]


def test_large_transfer_both_ways(zt: Zt) -> None:
    data = os.urandom(3_000_000)

    def echo(connection: socket.socket) -> None:
        got = receive_all(connection)
        connection.sendall(got)

    with peer(echo) as port:
        result = zt("call", f"tcp://127.0.0.1:{port}", stdin=data)
    assert result.code == 0
    assert result.stdout == data


def test_peer_half_closes_first_and_still_gets_everything(zt: Zt) -> None:
    data = os.urandom(2_000_000)
    received = []

    def silent(connection: socket.socket) -> None:
        connection.shutdown(socket.SHUT_WR)
        received.append(receive_all(connection))

    with peer(silent) as port:
        result = zt("call", f"127.0.0.1:{port}", stdin=data)
    assert result.code == 0
    assert received == [data]


def test_reset_is_told_after_what_arrived(zt: Zt) -> None:
    def rude(connection: socket.socket) -> None:
        connection.sendall(b"part")
        time.sleep(0.2)
        reset(connection)

    with open_pipe() as stdin, peer(rude) as port:
        result = zt("call", "127.0.0.1", str(port), stdin=stdin)
    assert (result.code, result.stdout) == (ExitCode.CONNECTION_LOST, b"part")
    assert "[ZT-E056]" in result.stderr


def test_refused(zt: Zt) -> None:
    result = zt("call", "127.0.0.1", str(free_port()))
    assert result.code == ExitCode.CANNOT_CONNECT
    assert result.stderr.count("\n") == 1


def test_idle_timeout(zt: Zt) -> None:
    with open_pipe() as stdin, peer(lambda c: (receive_all(c), None)[1]) as port:
        result = zt("call", "127.0.0.1", str(port), "--idle-timeout", "200ms", stdin=stdin)
    assert result.code == ExitCode.TIMED_OUT


def test_total_timeout(zt: Zt) -> None:
    with open_pipe() as stdin, peer(lambda c: (receive_all(c), None)[1]) as port:
        result = zt("--timeout", "200ms", "call", "127.0.0.1", str(port), stdin=stdin)
    assert result.code == ExitCode.TIMED_OUT


def test_reader_of_the_output_goes_away(zt: Zt) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open_pipe() as stdin, peer(lambda c: c.sendall(b"x" * 100_000)) as port:
        code, stderr = zt.run(["call", "127.0.0.1", str(port)], stdin, writing)
    os.close(writing)
    assert (code, stderr) == (ExitCode.OUTPUT_CLOSED, "")


def test_full_disk(zt: Zt) -> None:
    if not Path("/dev/full").exists():
        missing("this system has no /dev/full")
    descriptor = os.open("/dev/full", os.O_WRONLY)
    with peer(lambda c: c.sendall(b"x" * 1000)) as port:
        code, stderr = zt.run(["call", "127.0.0.1", str(port), "--no-stdin"], 0, descriptor)
    os.close(descriptor)
    assert code == ExitCode.CANNOT_WRITE
    assert "No space left" in stderr


def test_receive_only_never_reads(zt: Zt) -> None:
    received = []

    def greet(connection: socket.socket) -> None:
        connection.sendall(b"hello")
        received.append(receive_all(connection))

    with peer(greet) as port:
        result = zt("call", "127.0.0.1", str(port), "--recv-only", stdin=b"secret")
    assert (result.code, result.stdout, received) == (0, b"hello", [b""])


def test_crlf(zt: Zt) -> None:
    received = []
    with peer(lambda c: received.append(receive_all(c))) as port:
        assert zt("call", "127.0.0.1", str(port), "--crlf", stdin=b"a\nb\r\n").code == 0
    assert received == [b"a\r\nb\r\n"]


def test_ports_are_tested(zt: Zt) -> None:
    with peer(lambda _: None) as port:
        result = zt("call", "-z", "127.0.0.1", f"{port},{free_port()}")
    assert (result.code, result.stdout) == (0, f"{port} open\n".encode())


def test_no_port_is_open(zt: Zt) -> None:
    result = zt("call", "-z", "127.0.0.1", str(free_port()))
    assert (result.code, result.stdout) == (ExitCode.CANNOT_CONNECT, b"")


def test_retry_until_somebody_listens(zt: Zt) -> None:
    port = free_port()
    arguments = ["--retry", "2", "--retry-connrefused", "--retry-delay", "50ms"]
    start = time.monotonic()
    result = zt("call", "127.0.0.1", str(port), *arguments)
    assert result.code == ExitCode.CANNOT_CONNECT
    assert time.monotonic() - start > 0.1


def test_command_on_a_stream(zt: Zt) -> None:
    received = []

    def ask(connection: socket.socket) -> None:
        connection.sendall(b"question\n")
        connection.shutdown(socket.SHUT_WR)
        received.append(receive_all(connection))

    with peer(ask) as port:
        result = zt("call", "127.0.0.1", str(port), "--sh", "tr a-z A-Z; exit 3")
    assert (result.code, received) == (3, [b"QUESTION\n"])


def test_error_as_json(zt: Zt) -> None:
    result = zt("call", "--json", "127.0.0.1", str(free_port()))
    assert result.stderr.startswith('{"v": 1, "type": "error", "code": 7')


def test_what_passes_is_written_down(zt: Zt, tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    with peer(lambda c: c.sendall(receive_all(c)[::-1])) as port:
        words = ["call", "127.0.0.1", str(port), "-x", str(dump), "--progress"]
        result = zt(*words, stdin=b"0123456789abcdef\xff\n")
    assert (result.code, result.stdout) == (0, b"\n\xfffedcba9876543210")
    assert dump.stat().st_mode & 0o777 == 0o600
    assert dump.read_text().splitlines() == [
        "> 00000000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  |0123456789abcdef|",
        "> 00000010  ff 0a                                            |..|",
        "< 00000000  0a ff 66 65 64 63 62 61 39 38 37 36 35 34 33 32  |..fedcba98765432|",
        "< 00000010  31 30                                            |10|",
    ]
    assert result.stderr.startswith("sent 18 B, received 18 B, ")


def test_a_dump_on_stderr_and_one_that_cannot_be_written(zt: Zt, tmp_path: Path) -> None:
    with peer(lambda c: c.sendall(b"hi")) as port:
        result = zt("call", "127.0.0.1", str(port), "-x", "-")
    assert result.stderr == f"< 00000000  68 69{' ' * 44}|hi|\n"
    result = zt("call", "127.0.0.1", "9", "-x", str(tmp_path / "no" / "dump"))
    assert result.code == ExitCode.CANNOT_WRITE
