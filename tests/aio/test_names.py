"""Names of a network, asked of its DNS server inside it, and of nobody else."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

import ztstack
from tests.support.loopback import ipv4, ipv6
from tests.support.vl2 import ALICE, BOB, ROOT
from ztstack.aio.storage import Storage
from ztstack.base.errors import NameNotResolved
from ztstack.sockets import names
from ztstack.testing.lab import NodeLab

DOMAIN = "office.example"


@dataclass
class Zone:
    """What the server knows, and what it was asked; `truncates` sends everybody to TCP."""

    records: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    truncates: bool = False
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR

    def answer(self, wire: bytes, *, by_stream: bool = False) -> bytes:
        question = dns.message.from_wire(wire)
        (wanted,) = question.question
        name, kind = str(wanted.name), wanted.rdtype.name
        self.asked.append(f"{name} {kind}")
        answer = dns.message.make_response(question)
        if self.truncates and not by_stream:
            answer.flags |= dns.flags.TC
            return answer.to_wire()
        alias = self.records.get((name, "CNAME"))
        if alias:
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", alias[0]))
            name = alias[0]
        found = self.records.get((name, kind), [])
        if found:
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", kind, *found))
        known = any(entry == name for entry, _ in self.records)
        answer.set_rcode(self.rcode if known or self.rcode else dns.rcode.NXDOMAIN)
        return answer.to_wire()


@dataclass(frozen=True, slots=True)
class World:
    """Two nodes; the second one serves the names of the network."""

    lab: NodeLab
    alice: ztstack.Node
    bob: ztstack.Node
    zone: Zone

    async def use_servers(self, *servers: str) -> None:
        """Have the controller name these servers, and wait until it is known."""
        hub, network = self.lab.hub, self.lab.details.network
        controller = hub.node.controller
        assert controller is not None
        record = controller.network(network)
        assert record is not None
        packed = tuple(
            socket.inet_pton(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip) for ip in servers
        )
        new = replace(record, dns_domain=DOMAIN if servers else "", dns_servers=packed)
        controller.put_network(hub.clock.now(), new)
        hub.driver.pump_soon()
        while True:
            config = self.alice.service.node.member(network).network.config
            if config is not None and [e.ip for e in config.dns_servers] == list(packed):
                return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    for number, identity in enumerate((ROOT, ALICE, BOB)):
        storage = Storage(folder / "identities" / str(number))
        storage.open()
        storage.save_identity(identity)
        storage.close()
    async with NodeLab(folder / "lab", identities=folder / "identities") as lab:
        alice, bob = lab.nodes
        zone = Zone()
        endpoint = await bob.datagram(names.PORT)

        async def serve_datagrams() -> None:
            while True:
                data, (host, port), _ = await endpoint.receive()
                await endpoint.send(b"nonsense", host, port)
                await endpoint.send(zone.answer(data), host, port)

        async def serve_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            size = int.from_bytes(await reader.readexactly(2), "big")
            wire = zone.answer(await reader.readexactly(size), by_stream=True)
            writer.write(len(wire).to_bytes(2, "big") + wire)
            writer.close()

        server = await bob.start_server(serve_stream, port=names.PORT)
        task = asyncio.create_task(serve_datagrams())
        try:
            yield World(lab, alice, bob, zone)
        finally:
            task.cancel()
            server.close()
            endpoint.close()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run a test in a world where asking this machine's resolver is an error."""

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(f"the system was asked for {arguments[0]}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)

    def run_one(body: Callable[[World], object]) -> None:
        async def main() -> None:
            async with asyncio.timeout(18), world(tmp_path) as made:
                result = body(made)
                assert asyncio.iscoroutine(result)
                await result

        asyncio.run(main())

    return run_one


def test_a_name_is_found_and_connected_to(run: Callable[..., None]) -> None:
    async def body(made: World) -> None:
        bob_ip = ipv4(made.bob)
        made.zone.records = {
            (f"db.{DOMAIN}.", "A"): [bob_ip],
            (f"six.{DOMAIN}.", "AAAA"): [ipv6(made.bob)],
            (f"alias.{DOMAIN}.", "CNAME"): [f"db.{DOMAIN}."],
            ("elsewhere.example.", "A"): [bob_ip],
        }
        await made.use_servers(bob_ip)
        alice = made.alice
        assert await alice.resolve(f"db.{DOMAIN}") == bob_ip
        assert await alice.resolve(f"DB.{DOMAIN}.") == bob_ip
        assert await alice.resolve("db") == bob_ip
        assert await alice.resolve(f"alias.{DOMAIN}") == bob_ip
        assert await alice.resolve("elsewhere.example") == bob_ip
        assert await alice.resolve("six") == ipv6(made.bob)
        assert await alice.resolve("six", 6) == ipv6(made.bob)
        assert await alice.resolve(bob_ip) == bob_ip
        listener = await made.bob.listen(8000)
        async with await alice.connect(f"db.{DOMAIN}", 8000) as stream:
            assert stream.remote == (bob_ip, 8000)
            (await listener.accept()).abort()
        listener.close()
        # What was found is not asked again.
        assert made.zone.asked.count(f"db.{DOMAIN}. A") == 1

    run(body)


def test_of_two_families_the_one_that_answers_is_taken(run: Callable[..., None]) -> None:
    async def body(made: World) -> None:
        own = ipv4(made.bob)
        nobody = own.rpartition(".")[0] + ".251"
        name = f"both.{DOMAIN}."
        made.zone.records = {(name, "A"): [nobody], (name, "AAAA"): [ipv6(made.bob)]}
        await made.use_servers(own)
        listener = await made.bob.listen(8000)
        async with await made.alice.connect("both", 8000) as stream:
            assert stream.remote == (ipv6(made.bob), 8000)
            (await listener.accept()).abort()
        made.zone.records[name, "A"] = [own]
        listener.close()
        # Both refuse, and that is what is told.
        with pytest.raises(ztstack.ConnectRefused):
            await made.bob.connect("both", 8001)

    run(body)


def test_a_long_answer_comes_by_tcp(run: Callable[..., None]) -> None:
    async def body(made: World) -> None:
        made.zone.truncates = True
        made.zone.records = {(f"db.{DOMAIN}.", "A"): [ipv4(made.bob)]}
        await made.use_servers(ipv4(made.bob))
        assert await made.alice.resolve("db") == ipv4(made.bob)

    run(body)


def test_names_that_nobody_knows(run: Callable[..., None]) -> None:
    async def body(made: World) -> None:
        with pytest.raises(NameNotResolved, match="no joined network names a DNS server"):
            await made.alice.connect("db.example", 80)
        await made.use_servers(ipv4(made.bob))
        with pytest.raises(NameNotResolved, match="no joined network knows this name"):
            await made.alice.resolve("nothing.example")
        with pytest.raises(NameNotResolved, match="is not an address, a node id or a name"):
            await made.alice.resolve("a..b")
        made.zone.rcode = dns.rcode.REFUSED
        with pytest.raises(NameNotResolved, match="did not answer"):
            await made.alice.resolve("nothing.example")

    run(body)


def test_a_server_that_is_silent(run: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "TRY_S", 0.2)

    async def body(made: World) -> None:
        made.zone.records = {(f"db.{DOMAIN}.", "A"): [ipv4(made.bob)]}
        silent = ipv4(made.alice)
        await made.use_servers(silent)
        with pytest.raises(NameNotResolved, match=f"{silent} did not answer"):
            await made.alice.resolve("db")
        # The next server is asked then.
        await made.use_servers(silent, ipv4(made.bob))
        assert await made.alice.resolve("db") == ipv4(made.bob)

    run(body)
