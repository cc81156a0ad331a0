"""A router that speaks as much UPnP as port mapping needs."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from dataclasses import dataclass, field

_SERVICE = "urn:schemas-upnp-org:service:WANIPConnection:1"
_DEVICE = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
_GROUP, _GROUP_PORT = "239.255.255.250", 1900

_DESCRIPTION = f"""<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>0</minor>
</specVersion><device><deviceType>{_DEVICE}</deviceType><friendlyName>router</friendlyName>
<manufacturer>nobody</manufacturer><modelName>router</modelName><UDN>uuid:1</UDN>
<serviceList><service><serviceType>{_SERVICE}</serviceType><serviceId>urn:1</serviceId>
<controlURL>/control</controlURL><eventSubURL>/event</eventSubURL><SCPDURL>/scpd.xml</SCPDURL>
</service></serviceList></device></root>"""

_ARGUMENTS = {
    "GetExternalIPAddress": {"NewExternalIPAddress": ("out", "string")},
    "AddPortMapping": {
        "NewRemoteHost": ("in", "string"),
        "NewExternalPort": ("in", "ui2"),
        "NewProtocol": ("in", "string"),
        "NewInternalPort": ("in", "ui2"),
        "NewInternalClient": ("in", "string"),
        "NewEnabled": ("in", "boolean"),
        "NewPortMappingDescription": ("in", "string"),
        "NewLeaseDuration": ("in", "ui4"),
    },
    "DeletePortMapping": {
        "NewRemoteHost": ("in", "string"),
        "NewExternalPort": ("in", "ui2"),
        "NewProtocol": ("in", "string"),
    },
}


def _scpd() -> str:
    actions, variables = [], {}
    for action, arguments in _ARGUMENTS.items():
        rows = []
        for name, (direction, kind) in arguments.items():
            related = name.removeprefix("New")
            variables[related] = kind
            rows.append(
                f"<argument><name>{name}</name><direction>{direction}</direction>"
                f"<relatedStateVariable>{related}</relatedStateVariable></argument>"
            )
        actions.append(
            f"<action><name>{action}</name><argumentList>{''.join(rows)}</argumentList></action>"
        )
    table = "".join(
        f'<stateVariable sendEvents="no"><name>{name}</name><dataType>{kind}</dataType>'
        "</stateVariable>"
        for name, kind in variables.items()
    )
    return (
        '<?xml version="1.0"?><scpd xmlns="urn:schemas-upnp-org:service-1-0"><specVersion>'
        f"<major>1</major><minor>0</minor></specVersion><actionList>{''.join(actions)}"
        f"</actionList><serviceStateTable>{table}</serviceStateTable></scpd>"
    )


@dataclass(slots=True)
class UpnpRouter:
    """`mappings` are external ports to (client, internal port, lease); `taken` are refused."""

    ip: str = "127.0.0.1"
    external: str = "203.0.113.9"
    taken: frozenset[int] = frozenset()
    permanent_only: bool = False
    mappings: dict[int, tuple[str, int, int]] = field(default_factory=dict)
    port: int = 0
    server: asyncio.Server | None = None

    @property
    def location(self) -> str:
        return f"http://{self.ip}:{self.port}/root.xml"

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, self.ip, 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        await self.server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
        body = (await reader.readexactly(int(length[1]))).decode() if length else ""
        status, answer = self._answer(head.split()[1], body)
        data = answer.encode()
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Type: text/xml\r\nContent-Length: {len(data)}\r\n"
            "Connection: close\r\n\r\n".encode()
            + data
        )
        await writer.drain()
        writer.close()

    def _answer(self, path: str, body: str) -> tuple[str, str]:
        if path == "/root.xml":
            return "200 OK", _DESCRIPTION
        if path == "/scpd.xml":
            return "200 OK", _scpd()
        action = next(name for name in _ARGUMENTS if f"{name} " in body or f"{name}>" in body)
        given = dict(re.findall(r"<(New\w+)>([^<]*)</", body))
        error, result = self._act(action, given)
        if error:
            return "500 Internal Server Error", _envelope(
                "<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring>"
                '<detail><UPnPError xmlns="urn:schemas-upnp-org:control-1-0">'
                f"<errorCode>{error}</errorCode><errorDescription>no</errorDescription>"
                "</UPnPError></detail></s:Fault>"
            )
        response = f'<u:{action}Response xmlns:u="{_SERVICE}">{result}</u:{action}Response>'
        return "200 OK", _envelope(response)

    def _act(self, action: str, given: dict[str, str]) -> tuple[int, str]:
        if action == "GetExternalIPAddress":
            return 0, f"<NewExternalIPAddress>{self.external}</NewExternalIPAddress>"
        port = int(given["NewExternalPort"])
        if action == "DeletePortMapping":
            return (0, "") if self.mappings.pop(port, None) else (714, "")
        assert given["NewProtocol"] == "UDP"
        lease = int(given["NewLeaseDuration"])
        if self.permanent_only and lease:
            return 725, ""
        if port in self.taken:
            return 718, ""
        self.mappings[port] = (given["NewInternalClient"], int(given["NewInternalPort"]), lease)
        return 0, ""


def _envelope(body: str) -> str:
    return (
        '<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"'
        ' s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/">'
        f"<s:Body>{body}</s:Body></s:Envelope>"
    )


class _Search(asyncio.DatagramProtocol):
    def __init__(self, location: str) -> None:
        self._location = location
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data.startswith(b"M-SEARCH") and self._transport is not None:
            answer = (
                f"HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=60\r\nEXT:\r\nST: {_DEVICE}\r\n"
                f"LOCATION: {self._location}\r\nSERVER: x UPnP/1.0 x\r\nUSN: uuid:1::{_DEVICE}\r\n"
                "\r\n"
            )
            self._transport.sendto(answer.encode(), addr)


async def answer_searches(router: UpnpRouter) -> asyncio.DatagramTransport:
    """Answer the multicast questions on the interface that has the router's address."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", _GROUP_PORT))
    member = struct.pack("4s4s", socket.inet_aton(_GROUP), socket.inet_aton(router.ip))
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Search(router.location), sock=sock)
    return transport
