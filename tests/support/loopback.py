"""A lab on loopback for tests of the Python API: a root with a controller, and joined nodes."""

from __future__ import annotations

import asyncio
import datetime
import importlib
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import ztstack
from tests.support.vl2 import ALICE, BOB, CONTROLLER, ROOT
from ztstack.aio.storage import Storage
from ztstack.sockets.background import Background
from ztstack.testing.lab import NodeLab


@asynccontextmanager
async def two_nodes(folder: Path) -> AsyncIterator[tuple[ztstack.Node, ztstack.Node]]:
    """Start a lab and two nodes of known identities, because to make them takes long."""
    for number, identity in enumerate((ROOT, ALICE, BOB)):
        storage = Storage(folder / "identities" / str(number))
        storage.open()
        storage.save_identity(identity)
        storage.close()
    async with NodeLab(folder / "lab", identities=folder / "identities") as lab:
        yield lab.nodes[0], lab.nodes[1]


LOOPS: Final = ("asyncio", "uvloop")
"""Modules that make event loops."""

Nodes = Callable[[ztstack.Node, ztstack.Node], Awaitable[None]]


class OnLab:
    """Runs one test after the other on the same two nodes, to start them only once."""

    def __init__(self, folder: Path, loop: str = LOOPS[0]) -> None:
        self._runner = asyncio.Runner(loop_factory=importlib.import_module(loop).new_event_loop)
        self._world = two_nodes(folder)
        self._nodes = self._runner.run(self._enter())

    async def _enter(self) -> tuple[ztstack.Node, ztstack.Node]:
        return await self._world.__aenter__()

    async def _leave(self) -> None:
        await self._world.__aexit__(None, None, None)

    def __call__(self, body: Nodes) -> None:
        async def limited() -> None:
            asyncio.get_running_loop().set_exception_handler(None)
            async with asyncio.timeout(15):
                await body(*self._nodes)

        self._runner.run(limited())

    def stop(self) -> None:
        self._runner.run(self._leave())
        self._runner.close()


def ipv4(node: ztstack.Node) -> str:
    return next(ip for ip in node.addresses() if "." in ip)


def ipv6(node: ztstack.Node) -> str:
    return next(ip for ip in node.addresses() if ":" in ip)


@dataclass(frozen=True, slots=True)
class Tls:
    """A server's certificate, and a client that trusts only it."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    cert: Path


def tls_for(folder: Path, *names: str) -> Tls:
    """Make a certificate for some IP addresses or names."""
    certificate, key = _certificate(names)
    cert, key_path = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(certificate)
    key_path.write_bytes(key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key_path)
    return Tls(server, ssl.create_default_context(cafile=str(cert)), cert)


@cache
def _certificate(names: tuple[str, ...]) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "lab")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class BlockingLab:
    """The same two nodes behind the blocking facade."""

    def __init__(self, folder: Path) -> None:
        self._loop = Background()
        self._world = two_nodes(folder)
        alice, bob = self._loop.run(self._enter())
        self.alice = ztstack.BlockingNode(alice, self._loop)
        self.bob = ztstack.BlockingNode(bob, self._loop)
        self.alice_ip, self.bob_ip = ipv4(alice), ipv4(bob)
        self.config = replace(alice.config, identity=CONTROLLER)

    async def _enter(self) -> tuple[ztstack.Node, ztstack.Node]:
        return await self._world.__aenter__()

    async def _leave(self) -> None:
        await self._world.__aexit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._loop.run(self._leave())
        self._loop.stop()
