"""The demonstration of a tunnel: a service exposed by one process and called from another."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.support.cli import free_port
from tests.support.lossy_relay import lossy_relay
from tests.support.process import World

SIZE = 20_000_000
LOSS = 0.05
OVERLAY = ("--network", "0xCAFE2001", "--stack", "overlay", "--transport", "osudp")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@contextmanager
def service(answer: bytes, sums: list[str]) -> Iterator[int]:
    """Take what is put, note its sum, and answer with something else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"hello\n")

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            sums.append(hashlib.sha256(body).hexdigest())
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as inherited
            del format, args

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join(10)


@pytest.mark.parametrize(("host", "form"), [("127.0.0.1", "node"), ("::1", "ip")])
def test_tunnel_over_a_bad_path(tmp_path: Path, host: str, form: str) -> None:
    world = World(tmp_path)
    upload, answer = os.urandom(SIZE), os.urandom(SIZE)
    (tmp_path / "upload").write_bytes(upload)
    sums: list[str] = []
    udp = free_port()
    bracketed = f"[{host}]" if ":" in host else host
    with service(answer, sums) as target, lossy_relay(host, udp, LOSS) as relay:
        exposing = ("--udp-port", str(udp), "--listen", "28080", "--to", f"127.0.0.1:{target}")
        with world.running("expose", "5005", *OVERLAY, *exposing) as running:
            node = running.wait_ready()["node"]
            peer = f"{node}@{bracketed}:{relay.port}"
            forms = {
                "node": ("--url", f"http://{node}:28080/hello"),
                "ip": ("--map-ip", f"10.9.0.1={node}", "--url", "http://10.9.0.1:28080/hello"),
            }
            calling = ("call", *OVERLAY, "--udp-port", "0", "--peer", peer)
            files = ("-T", str(tmp_path / "upload"), "-o", str(tmp_path / "answer"))
            done = world.run(*calling, *forms.pop(form), *files)
            assert done.returncode == 0, done.stderr
            # The other way to name it, with less to carry.
            (other,) = forms.values()
            small = world.run(*calling, *other)
            assert (small.returncode, small.stdout) == (0, b"hello\n"), small.stderr
            line = running.stdout.decode()
    warning = "warning: overlay stack is neither encrypted nor authenticated\n"
    assert line == f"Expose: http://{node}:28080/ -> 127.0.0.1:{target}\n"
    assert running.stderr.count(warning) == 1
    assert done.stderr.decode().count(warning) == 1
    assert sums == [hashlib.sha256(upload).hexdigest()]
    received = (tmp_path / "answer").read_bytes()
    assert hashlib.sha256(received).digest() == hashlib.sha256(answer).digest()
    share = relay.lost / (relay.lost + relay.passed)
    assert 0.03 < share < 0.07
    assert relay.passed > 2 * SIZE / 8192
