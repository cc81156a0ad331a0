"""Names, asked of the DNS servers that networks name, inside those networks.

The system's resolver is never asked: what is looked for inside a network is nobody else's business.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from ztstack.aio.service import Service
from ztstack.base.endpoint import Endpoint
from ztstack.base.errors import InvalidConfig, NameNotResolved, ZtError
from ztstack.base.limits import BoundedMap
from ztstack.base.network_id import NetworkId
from ztstack.sockets.datagram import DatagramEndpoint
from ztstack.sockets.stream import Stream

PORT: Final = 53
TRY_S: Final = 2.0
"""So long one server may take for one question, before it is asked again or the next one is."""
TRIES: Final = 2
CACHED: Final = 256
LONGEST_S: Final = 300
"""An answer is believed no longer than this, whatever it says itself (RFC 2181 section 8)."""
UDP_BYTES: Final = 1232
"""What a server may answer in one datagram (RFC 6891)."""

OpenDatagram = Callable[[], Awaitable[DatagramEndpoint]]
OpenStream = Callable[[str, int, float], Awaitable[Stream]]
Question = dns.message.QueryMessage


class _Server(NamedTuple):
    network: NetworkId
    host: str
    port: int


_Key = tuple[_Server, dns.name.Name, str]


class _Answer(NamedTuple):
    """Addresses as text; none if the name exists without any, or not at all."""

    addresses: tuple[str, ...]
    seconds: int


class NameResolver:
    """Finds addresses for names in the DNS servers of the joined networks (RFC 1035)."""

    def __init__(self, service: Service, datagram: OpenDatagram, stream: OpenStream) -> None:
        self._service = service
        self._datagram = datagram
        self._stream = stream
        self._cache: BoundedMap[_Key, tuple[int, tuple[str, ...]]] = BoundedMap(CACHED)

    async def address(self, host: str, family: int = 0) -> str:
        """Return an IP address for a name; `family` is 0, 4 or 6.

        Raises NameNotResolved: no joined network has a server, none answers, or none knows it.
        """
        if _is_literal(host):
            raise NameNotResolved(f"{host}: is not an IPv{family} address")
        names = list(self._candidates(_name_of(host)))
        if not names:
            raise NameNotResolved(
                f"{host}: cannot be resolved; use an IP address or a node id "
                "(no joined network names a DNS server)"
            )
        silent: list[str] = []
        for server, name in names:
            try:
                addresses = await self._of(server, name, family)
            except (TimeoutError, OSError, ZtError, dns.exception.DNSException):
                silent.append(server.host)
                continue
            for address in addresses:
                return address
        words = "no joined network knows this name"
        if silent:
            words = f"the DNS server {', '.join(dict.fromkeys(silent))} did not answer"
        raise NameNotResolved(f"{host}: {words}")

    def _candidates(self, name: dns.name.Name) -> Iterator[tuple[_Server, dns.name.Name]]:
        """Give the servers to ask, those of the network that the name belongs to first."""
        found: list[tuple[bool, _Server, dns.name.Name]] = []
        for network in self._service.networks():
            text, servers = self._service.node.member(network).dns
            domain = _name_of(text) if text else dns.name.root
            for endpoint in servers:
                server = _server(network, endpoint)
                if len(name) > 2:
                    found.append((not name.is_subdomain(domain), server, name))
                else:
                    # A single word is meant within the domain of the network.
                    found.append((False, server, name.relativize(dns.name.root) + domain))
        found.sort(key=lambda item: item[0])
        for _, server, full in found:
            yield server, full

    async def _of(self, server: _Server, name: dns.name.Name, family: int) -> tuple[str, ...]:
        """Return the addresses of one kind that a server has; IPv4 comes first."""
        for number, kind in ((4, "A"), (6, "AAAA")):
            if family in (0, number):
                found = await self._one(server, name, kind)
                if found:
                    return found
        return ()

    async def _one(self, server: _Server, name: dns.name.Name, kind: str) -> tuple[str, ...]:
        key = (server, name, kind)
        now = self._service.driver.now()
        known = self._cache.get(key)
        if known is not None and known[0] > now:
            return known[1]
        question = dns.message.make_query(name, kind, use_edns=0, payload=UDP_BYTES)
        answer = _read(await self._exchange(server, question), kind)
        if answer.addresses:
            self._cache.set(key, (now + answer.seconds * 1_000_000, answer.addresses))
        return answer.addresses

    async def _exchange(self, server: _Server, question: Question) -> dns.message.Message:
        for attempt in range(TRIES):
            try:
                async with asyncio.timeout(TRY_S):
                    answer = await self._by_datagram(server, question)
            except TimeoutError:
                if attempt + 1 == TRIES:
                    raise
                continue
            if answer.flags & dns.flags.TC:
                async with asyncio.timeout(TRY_S):
                    return await self._by_stream(server, question)
            return answer
        raise TimeoutError

    async def _by_datagram(self, server: _Server, question: Question) -> dns.message.Message:
        endpoint = await self._datagram()
        try:
            endpoint.send_now(question.to_wire(), server.host, server.port)
            while True:
                data, remote, _ = await endpoint.receive()
                if remote != (server.host, server.port):
                    continue
                try:
                    answer = dns.message.from_wire(data)
                except dns.exception.DNSException:
                    continue
                if question.is_response(answer):
                    return answer
        finally:
            endpoint.close()

    async def _by_stream(self, server: _Server, question: Question) -> dns.message.Message:
        """Ask again where the answer has room (RFC 7766)."""
        wire = question.to_wire()
        async with await self._stream(server.host, server.port, TRY_S) as stream:
            await stream.send(len(wire).to_bytes(2, "big") + wire)
            data = b""
            while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
                part = await stream.receive()
                if not part:
                    raise NameNotResolved("the DNS server ended too early")
                data += part
        answer = dns.message.from_wire(data[2 : 2 + int.from_bytes(data[:2], "big")])
        if not question.is_response(answer):
            raise NameNotResolved("the DNS server answered another question")
        return answer


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _name_of(host: str) -> dns.name.Name:
    """Return an absolute name; letters beyond ASCII by IDNA. NameNotResolved if it is none."""
    try:
        return dns.name.from_text(host)
    except (dns.exception.DNSException, UnicodeError, InvalidConfig):
        raise NameNotResolved(f"{host}: is not an address, a node id or a name") from None


def _server(network: NetworkId, endpoint: Endpoint) -> _Server:
    return _Server(network, endpoint.host, endpoint.port or PORT)


def _read(answer: dns.message.Message, kind: str) -> _Answer:
    """Return the addresses of an answer, aliases followed."""
    if not isinstance(answer, dns.message.QueryMessage):
        return _Answer((), 0)
    if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise NameNotResolved(f"the DNS server answered {dns.rcode.to_text(answer.rcode())}")
    found = answer.resolve_chaining()
    if found.answer is None or found.answer.rdtype != dns.rdatatype.from_text(kind):
        return _Answer((), 0)
    addresses = tuple(str(item.address) for item in found.answer)
    return _Answer(addresses, min(found.minimum_ttl, LONGEST_S))
