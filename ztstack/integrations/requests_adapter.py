"""An adapter for requests: `session.mount("http://", node.requests_adapter())`."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from typing import Any, cast

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util.ssl_ import resolve_cert_reqs
from urllib3.util.timeout import Timeout

from ztstack.base.errors import ZtError
from ztstack.sockets.blocking import BlockingNode
from ztstack.sockets.blocking_socket import Socket


class NodeAdapter(HTTPAdapter):
    """Requests to IP addresses and node ids inside the networks of a blocking node.

    Nothing is asked of the system's resolver, and no proxy is used. Failures are those of
    requests: ConnectionError, ConnectTimeout, ReadTimeout, SSLError.
    """

    def __init__(self, node: BlockingNode, **options: Any) -> None:  # noqa: ANN401 - HTTPAdapter's
        self._pools = _pools(node)
        super().__init__(**options)

    def init_poolmanager(
        self,
        connections: int,
        maxsize: int,
        block: bool = False,  # noqa: FBT001, FBT002 - as HTTPAdapter has it
        **pool_kwargs: Any,  # noqa: ANN401 - as HTTPAdapter has it
    ) -> None:
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,  # noqa: FBT001, FBT002 - as HTTPAdapter has it
        timeout: Any = None,  # noqa: ANN401 - as HTTPAdapter has it
        verify: Any = True,  # noqa: ANN401, FBT002 - as HTTPAdapter has it
        cert: Any = None,  # noqa: ANN401 - as HTTPAdapter has it
        proxies: Mapping[str, str] | None = None,
    ) -> Response:
        # A proxy of the environment must not learn who is talked to inside a network.
        del proxies
        return super().send(request, stream, timeout, verify, cert, None)


class _Context(ssl.SSLContext):
    """Puts TLS on a socket that is none of the system's."""

    def wrap_socket(self, sock: Any, *unused: Any, **options: Any) -> Any:  # noqa: ANN401 - urllib3 calls it so
        del unused
        assert isinstance(sock, Socket)
        return sock.start_tls(self, server_hostname=options.get("server_hostname"))


def _dial(node: BlockingNode, connection: HTTPConnection) -> Socket:
    timeout = Timeout.resolve_default_timeout(connection.timeout)
    address = (connection.host, connection.port or connection.default_port)
    source = connection.source_address
    try:
        made = node.create_connection(address, timeout, source)
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, str(error)) from error
    except (ZtError, OSError) as error:
        raise NewConnectionError(connection, str(error)) from error
    for level, option, value in connection.socket_options or ():
        made.setsockopt(level, option, value)
    return made


def _is_connected(connection: HTTPConnection) -> bool:
    sock = cast("Socket | None", connection.sock)
    return sock is not None and not sock.is_readable


def _pools(node: BlockingNode) -> dict[str, type[HTTPConnectionPool]]:
    """Return the classes of connections and pools whose sockets are those of a node."""

    class Http(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return cast("socket.socket", _dial(node, self))

        @property
        def is_connected(self) -> bool:
            return _is_connected(self)

    class Https(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return cast("socket.socket", _dial(node, self))

        @property
        def is_connected(self) -> bool:
            return _is_connected(self)

        def connect(self) -> None:
            if self.ssl_context is None:
                # One for every connection: what one request trusts is not for the next.
                context = self.ssl_context = _Context(ssl.PROTOCOL_TLS_CLIENT)
                if resolve_cert_reqs(self.cert_reqs) == ssl.CERT_NONE:
                    context.check_hostname = False
                    context.verify_mode = ssl.CERT_NONE
            super().connect()

    class HttpPool(HTTPConnectionPool):
        ConnectionCls = Http  # type: ignore[mutable-override] # urllib3's way to do it

    class HttpsPool(HTTPSConnectionPool):
        ConnectionCls = Https  # type: ignore[mutable-override] # urllib3's way to do it

    return {"http": HttpPool, "https": HttpsPool}
