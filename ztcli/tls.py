"""TLS over any stream: the client and the server side."""

from __future__ import annotations

import ssl

from ztcli.engine import Stream
from ztcli.exit_codes import CommandError, ExitCode, UsageProblem

_READ = 256 * 1024
_MAX_READ = 16384


def client_context(
    cacert: str | None, cert: str | None, key: str | None, *, insecure: bool
) -> ssl.SSLContext:
    """Return what a client trusts; nothing is trusted beyond `cacert` if that is given."""
    try:
        context = ssl.create_default_context(cafile=cacert)
        if insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if cert is not None:
            context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise UsageProblem(f"the certificate files cannot be used: {error}") from None
    return context


def server_context(cert: str | None, key: str | None) -> ssl.SSLContext:
    """Return a server's certificate."""
    if cert is None:
        raise UsageProblem("--tls needs --cert FILE, and --key FILE if the key is elsewhere")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise UsageProblem(f"the certificate files cannot be used: {error}") from None
    return context


async def wrap(
    stream: Stream,
    context: ssl.SSLContext,
    *,
    server_name: str | None = None,
    server: bool = False,
) -> TlsStream:
    """Do the handshake on a connected stream."""
    wrapped = TlsStream(stream, context, server_name=server_name, server=server)
    await wrapped.handshake()
    return wrapped


class TlsStream:
    """A stream with TLS on it; for one reader and one writer at a time."""

    def __init__(
        self, stream: Stream, context: ssl.SSLContext, *, server_name: str | None, server: bool
    ) -> None:
        self._stream = stream
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server, server_hostname=server_name
        )
        self.local = stream.local
        self.remote = stream.remote
        self.abort = stream.abort
        self.wait_sent = stream.wait_sent

    @property
    def remote_name(self) -> str:
        return self._stream.remote_name

    @property
    def network_name(self) -> str:
        return self._stream.network_name

    @property
    def path(self) -> str:
        return self._stream.path

    @property
    def ssl_object(self) -> ssl.SSLObject:
        """Tell what was agreed on."""
        return self._tls

    async def handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill("the peer ended during the TLS handshake")
            except ssl.SSLError:
                await self._flush()
                raise
            else:
                await self._flush()
                return

    async def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            await self._stream.send(data)

    async def _fill(self, complaint: str) -> None:
        data = await self._stream.receive(_READ)
        if not data:
            raise CommandError(complaint, ExitCode.TLS_FAILED)
        self._incoming.write(data)

    async def receive(self, limit: int = _READ) -> bytes:
        while True:
            try:
                data = self._tls.read(min(limit, _READ))
            except ssl.SSLWantReadError:
                await self._flush()
                received = await self._stream.receive(_READ)
                if received:
                    self._incoming.write(received)
                else:
                    # Without the peer's closing alert anybody may have cut the stream here.
                    raise CommandError(
                        "the peer ended without a TLS farewell", ExitCode.CONNECTION_LOST
                    ) from None
            except ssl.SSLZeroReturnError:
                return b""
            else:
                return data

    async def receive_views(self, limit: int = _READ) -> list[memoryview]:
        data = await self.receive(limit)
        return [memoryview(data)] if data else []

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        while view:
            taken = self._tls.write(view[:_READ])
            view = view[taken:]
            await self._flush()

    async def send_eof(self) -> None:
        try:
            self._tls.unwrap()
        except ssl.SSLWantReadError:
            pass  # Our farewell is out; the peer's comes when it wants.
        except ssl.SSLError:
            pass  # The peer's last bytes are still to be read; the stream's FIN says enough.
        await self._flush()
        await self._stream.send_eof()

    async def close(self) -> None:
        await self._stream.close()


__all__ = ["_MAX_READ", "TlsStream", "client_context", "server_context", "wrap"]
