"""A connector for aiohttp: `aiohttp.ClientSession(connector=node.aiohttp_connector())`."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from ztstack.base.errors import ZtError
from ztstack.sockets.mirror import AnyNode


class _NoResolver(AbstractResolver):
    """Leaves names as they are: what they mean is known inside the networks only."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host=host, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        """Close nothing."""


class NodeConnector(aiohttp.TCPConnector):
    """Connects to IP addresses and node ids inside the networks of a node.

    Takes the options of `aiohttp.TCPConnector` but those that are about names. Nothing is asked of
    the system's resolver. Failures are aiohttp's: ClientConnectorError, ServerTimeoutError...
    """

    def __init__(self, node: AnyNode, **options: Any) -> None:  # noqa: ANN401 - TCPConnector's
        self._node = node
        super().__init__(resolver=_NoResolver(), use_dns_cache=False, **options)

    async def _wrap_create_connection(  # type: ignore[override] # noqa: PLR0913 - all that aiohttp uses
        self,
        factory: Any,  # noqa: ANN401 - a private type of aiohttp
        *,
        addr_infos: list[Any],
        req: Any,  # noqa: ANN401 - a private type of aiohttp
        timeout: aiohttp.ClientTimeout,
        client_error: type[aiohttp.ClientConnectorError] = aiohttp.ClientConnectorError,
        ssl: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> Any:  # noqa: ANN401 - a private type of aiohttp
        host, port = addr_infos[0][4][:2]
        try:
            return await self._node.create_connection(
                factory,
                host,
                port,
                ssl=ssl,
                server_hostname=server_hostname,
                timeout=timeout.sock_connect,
            )
        except TimeoutError as error:
            raise aiohttp.ServerTimeoutError(str(error)) from error
        except _SSL_CERT as error:
            raise aiohttp.ClientConnectorCertificateError(req.connection_key, error) from error
        except _SSL as error:
            raise aiohttp.ClientConnectorSSLError(req.connection_key, error) from error
        except (ZtError, OSError) as error:
            wrapped = OSError(getattr(error, "errno", None), str(error))
            raise client_error(req.connection_key, wrapped) from error


# Under other names, because `ssl` is an argument above.
_SSL_CERT = ssl.SSLCertVerificationError
_SSL = ssl.SSLError
