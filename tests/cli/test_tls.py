"""TLS on streams: both sides, trust, and a stream that is cut."""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.cli import Zt, open_pipe, peer
from ztcli.exit_codes import ExitCode


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key and a certificate for 127.0.0.1 that it signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_both_sides(zt: Zt, certificate: Path) -> None:
    data = os.urandom(500_000)
    with zt.background("listen", "0", "--tcp", "--tls", "--cert", str(certificate)) as running:
        target = f"tls://127.0.0.1:{running.port}"
        result = zt("call", target, "--cacert", str(certificate), stdin=data)
    assert (result.code, result.stderr) == (0, "")
    assert running.result is not None
    assert running.result.code == 0
    assert running.result.stdout == data


def test_https(zt: Zt, certificate: Path) -> None:
    arguments = ["--mode", "http", "--once", "--tls", "--cert", str(certificate)]
    with zt.background("listen", "0", *arguments) as running:
        url = f"https://127.0.0.1:{running.port}/"
        result = zt("call", url, "--cacert", str(certificate))
    assert (result.code, result.stdout) == (0, b"ok\n")


def test_not_trusted(zt: Zt, certificate: Path) -> None:
    arguments = ["--mode", "http", "--once", "--tls", "--cert", str(certificate)]
    with zt.background("listen", "0", *arguments) as running:
        result = zt("call", f"https://127.0.0.1:{running.port}/")
    assert result.code == ExitCode.TLS_NOT_TRUSTED


def test_cut_without_farewell(zt: Zt, certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def cut(connection: socket.socket) -> None:
        wrapped = context.wrap_socket(connection, server_side=True)
        wrapped.sendall(b"part")
        os.close(wrapped.detach())

    with open_pipe() as stdin, peer(cut) as port:
        result = zt("call", f"tls://127.0.0.1:{port}", "-k", "--timeout", "5s", stdin=stdin)
    assert result.code == ExitCode.CONNECTION_LOST
    assert result.stdout == b"part"


def test_certificate_is_needed(zt: Zt) -> None:
    assert zt("listen", "0", "--tcp", "--tls", "--once").code == ExitCode.USAGE
