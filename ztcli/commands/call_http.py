"""The HTTP half of zt call: a request over a stream of the network, with curl's letters."""

from __future__ import annotations

import contextlib
import getpass
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpcore
import httpx

from ztcli import parsing, runner
from ztcli.boundary import code_of, words_of
from ztcli.commands import call_write_out
from ztcli.commands.call_body import expected, file_name, tell, write_answer
from ztcli.commands.call_options import CallOptions
from ztcli.commands.call_stream import retrying
from ztcli.commands.call_write_out import Outcome
from ztcli.environment import Environment
from ztcli.exit_codes import CommandError, ExitCode, OutputClosed, UsageProblem
from ztcli.http_transport import OverlayBackend, OverlayTransport, Proxy, Route
from ztcli.journal import Journal
from ztcli.options import Settings
from ztcli.output.meter import is_wanted, metered
from ztcli.stdio import InputReader
from ztcli.tls import client_context

HTTP_TIMEOUT_S: Final = 90.0
_CHUNK: Final = 256 * 1024
_PASSING: Final = frozenset((408, 429, 500, 502, 503, 504))
"""Refusals that --retry takes for those of the moment, as curl does."""
_FORM: Final = "application/x-www-form-urlencoded"
_PROXY_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


def run_http(
    env: Environment, settings: Settings, options: CallOptions, target: parsing.Target
) -> ExitCode:
    """Make the request, write its body to stdout or a file."""
    request = _Prepared(env, options, target)
    outcome = Outcome(request.method, request.url, Journal(), file_name=request.file_name)

    async def main() -> ExitCode:
        try:
            code = await _run(env, settings, options, request, outcome)
        except OutputClosed:
            raise
        except Exception as error:
            code = code_of(error)
            outcome.code, outcome.message = int(code), words_of(error, code)[0]
            _write_out(env, request, outcome)
            raise
        _write_out(env, request, outcome)
        return code

    return runner.run(env, main, settings.total_timeout(HTTP_TIMEOUT_S))


async def _run(
    env: Environment,
    settings: Settings,
    options: CallOptions,
    request: _Prepared,
    outcome: Outcome,
) -> ExitCode:
    journal = outcome.journal
    if options.http == "os":
        if not settings.is_overlay:
            raise UsageProblem("--http os belongs to --stack overlay")
        journal.path = "os"
        transport = httpx.AsyncHTTPTransport(
            verify=request.context,
            trust_env=False,
            http1=not options.http2 or request.url.startswith("https"),
            http2=options.http2,
            proxy=options.proxy,
        )
        return await _exchange(env, settings, options, request, transport, outcome)
    async with env.engine(settings) as engine:
        await engine.join()
        journal.joined = journal.now()
        backend = OverlayBackend(engine, settings.connect_timeout, request.route, journal)
        inside = OverlayTransport(
            backend, request.context, http2=options.http2, proxy=request.proxy
        )
        return await _exchange(env, settings, options, request, inside, outcome)


def _write_out(env: Environment, request: _Prepared, outcome: Outcome) -> None:
    if request.template is None:
        return
    for stream, text in call_write_out.pieces(request.template, outcome):
        if stream == call_write_out.STDERR:
            with contextlib.suppress(OSError, ValueError):
                env.stderr.write(text)
        else:
            env.write(text.encode())


class _Prepared:
    """A request, checked before anything is sent."""

    def __init__(self, env: Environment, options: CallOptions, target: parsing.Target) -> None:
        self.url = target.url
        self.file_name = file_name(options, self.url)
        self.template = _template(env, options.write_out)
        self.proxy = _proxy(options, target)
        self.servername = options.servername
        self.headers = self._headers(options)
        self.content: bytes | None = None
        self.files: list[tuple[str, Any]] = []
        self.form: dict[str, list[str]] = {}
        self.upload = options.upload_file
        self.is_spent = False
        """That the body came from stdin, which cannot be read twice."""
        self.method = options.request or ""
        self._body(env, options)
        self.auth = self._auth(env, options)
        self.context = client_context(
            options.cacert, options.cert, options.key, insecure=options.insecure
        )
        places: dict[tuple[str, int], str] = {}
        for text in options.resolve or ():
            host, _, rest = text.partition(":")
            port, colon, address = rest.partition(":")
            if not colon:
                raise UsageProblem(f"--resolve is HOST:PORT:ADDRESS, not {text!r}")
            places[host, parsing.port(port)] = address.strip("[]")
        own_port = parsing.port(options.source_port) if options.source_port else 0
        self.route = Route(options.family, options.source, own_port, places)

    def _headers(self, options: CallOptions) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for text in options.header or ():
            if text.startswith("@"):
                lines = _read_file(text[1:]).decode("latin-1").splitlines()
                found.extend(parsing.header(line) for line in lines if line.strip())
            else:
                found.append(parsing.header(text))
        if options.user_agent is not None:
            found.append(("User-Agent", options.user_agent))
        given = {name.lower() for name, _ in found}
        defaults = [("User-Agent", "zt"), ("Accept", "*/*")]
        if options.compressed:
            defaults.append(("Accept-Encoding", "gzip, deflate"))
        found.extend(pair for pair in defaults if pair[0].lower() not in given)
        return found

    def _body(self, env: Environment, options: CallOptions) -> None:
        parts = [_data(env, text, strip=True) for text in options.data or ()]
        parts += [text.encode() for text in options.data_raw or ()]
        parts += [_data(env, text, strip=False) for text in options.data_binary or ()]
        kinds = [bool(parts), options.json_data is not None, bool(options.form), bool(self.upload)]
        if sum(kinds) > 1:
            raise UsageProblem("-d, --json-data, -F and -T exclude each other")
        if options.head and any(kinds):
            raise UsageProblem("-I asks for headers only; it takes no body")
        if parts:
            self.content = b"&".join(parts)
            self._default_header("Content-Type", _FORM)
        elif options.json_data is not None:
            self.content = _data(env, options.json_data, strip=False)
            self._default_header("Content-Type", "application/json")
            self._default_header("Accept", "application/json")
        for text in options.form or ():
            self._form_part(text)
        if self.upload and self.upload != "-" and not Path(self.upload).is_file():
            raise CommandError(f"{self.upload}: cannot be read", ExitCode.CANNOT_READ)
        default = "HEAD" if options.head else "PUT" if self.upload else "GET"
        self.method = self.method or ("POST" if any(kinds[:3]) else default)

    def _form_part(self, text: str) -> None:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageProblem(f"-F is NAME=VALUE or NAME=@FILE, not {text!r}")
        if value.startswith("@"):
            self.files.append((name, (Path(value[1:]).name, _read_file(value[1:]))))
        else:
            self.files.append((name, (None, value)))

    def _default_header(self, name: str, value: str) -> None:
        if all(given.lower() != name.lower() for given, _ in self.headers):
            self.headers.append((name, value))

    def _auth(self, env: Environment, options: CallOptions) -> tuple[str, str] | None:
        if options.user is None:
            if options.password_file is not None:
                raise UsageProblem("--password-file needs --user")
            return None
        user, colon, password = options.user.partition(":")
        if colon:
            return user, password
        if options.password_file is not None:
            text = _data(env, "@" + options.password_file, strip=False).decode("utf-8", "replace")
            return user, text.rstrip("\r\n")
        if not (env.stdin == 0 and sys.stdin.isatty()):
            raise UsageProblem("--user needs --password-file where there is no terminal")
        return user, getpass.getpass(f"password of {user}: ")


def _data(env: Environment, text: str, *, strip: bool) -> bytes:
    if not text.startswith("@"):
        return text.encode("utf-8", "surrogateescape")
    if text == "@-":
        with open(env.stdin, "rb", closefd=False) as stream:
            data = stream.read()
    else:
        data = _read_file(text[1:])
    return data.replace(b"\r", b"").replace(b"\n", b"") if strip else data


def _read_file(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise CommandError(f"{name}: {error.strerror}", ExitCode.CANNOT_READ) from error


async def _upload(env: Environment, request: _Prepared) -> AsyncIterator[bytes]:
    name = request.upload or ""
    if name == "-":
        request.is_spent = True
        reader = InputReader(env.stdin)
        while chunk := await reader.read():
            yield chunk
        return
    with Path(name).open("rb") as stream:  # noqa: ASYNC230 - a local file
        while chunk := stream.read(_CHUNK):
            yield chunk


async def _exchange(
    env: Environment,
    settings: Settings,
    options: CallOptions,
    request: _Prepared,
    transport: httpx.AsyncBaseTransport,
    outcome: Outcome,
) -> ExitCode:
    journal = outcome.journal
    client = httpx.AsyncClient(
        transport=transport,
        timeout=None,  # noqa: S113 - the whole command has a limit
        trust_env=False,
        follow_redirects=options.location,
        max_redirects=options.max_redirs,
    )
    # httpx adds its own defaults; what is sent is what was asked for.
    client.headers.clear()

    def counts() -> tuple[int, int, int | None]:
        got = outcome.response
        if got is None:
            return journal.sent, journal.received, None
        return journal.sent, got.num_bytes_downloaded, expected(got)

    to_file = bool(request.file_name)
    wanted = is_wanted(env, settings, asked=options.progress, to_file=to_file)
    async with client:
        with _translated(request.url), metered(env, counts, wanted=wanted):
            response = await retrying(
                options,
                lambda: _send(env, client, request),
                may_repeat=lambda: not request.is_spent,
                gives_up=_is_passing,
            )
            journal.answered = journal.now()
            outcome.response = response
            try:
                return await _receive(env, settings, options, response, request.file_name)
            finally:
                await response.aclose()


async def _is_passing(response: httpx.Response) -> bool:
    """Tell whether a refusal may be of the moment; the answer is let go then."""
    if response.status_code not in _PASSING:
        return False
    await response.aclose()
    return True


async def _send(env: Environment, client: httpx.AsyncClient, request: _Prepared) -> httpx.Response:
    headers = list(request.headers)
    content: bytes | AsyncIterator[bytes] | None = request.content
    if request.upload is not None:
        content = _upload(env, request)
        if request.upload != "-":
            length = os.stat(request.upload).st_size  # noqa: PTH116
            headers.append(("Content-Length", str(length)))
    try:
        made = client.build_request(
            request.method,
            request.url,
            headers=headers,
            content=content,
            files=request.files or None,
            extensions={"sni_hostname": request.servername} if request.servername else None,
        )
    except (httpx.InvalidURL, ValueError) as error:
        raise UsageProblem(f"{request.url}: {error}") from None
    auth = httpx.BasicAuth(*request.auth) if request.auth is not None else None
    return await client.send(made, stream=True, auth=auth)


async def _receive(
    env: Environment,
    settings: Settings,
    options: CallOptions,
    response: httpx.Response,
    name: str,
) -> ExitCode:
    failed = response.status_code >= 400 and (options.fail or options.fail_with_body)
    if settings.verbose:
        tell(env, response)
    if not failed or options.fail_with_body:
        await write_answer(env, options, response, name)
    if failed:
        raise CommandError(f"{response.url}: HTTP {response.status_code}", ExitCode.HTTP_STATUS)
    return ExitCode.OK


def _template(env: Environment, text: str | None) -> str | None:
    """Return the text of --write-out; @FILE and @- hold it too."""
    if text is None:
        return None
    if text.startswith("@"):
        text = _data(env, text, strip=False).decode("utf-8", "replace")
    call_write_out.check(text)
    return text


def _proxy(options: CallOptions, target: parsing.Target) -> Proxy | None:
    """Read --proxy; its password may stand in the URL."""
    if options.proxy is None:
        return None
    try:
        url = httpx.URL(options.proxy)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in _PROXY_PORTS or not url.host:
        raise UsageProblem("--proxy is http://HOST:PORT, https:// or socks5h://")
    if options.http2 and target.scheme == "http" and url.scheme in ("http", "https"):
        raise UsageProblem("--http2 without TLS does not go through an HTTP proxy")
    port = url.port or _PROXY_PORTS[url.scheme]
    return Proxy(url.scheme, url.host, port, url.username, url.password)


@contextlib.contextmanager
def _translated(url: str) -> Any:  # noqa: ANN401 - an iterator for contextlib
    """Give the errors of HTTP their exit codes; those of streams keep theirs."""
    try:
        yield
    except httpx.TooManyRedirects as error:
        raise CommandError(f"{url}: too many redirects", ExitCode.TOO_MANY_REDIRECTS) from error
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise UsageProblem(f"{url}: {error}") from error
    except (httpx.RemoteProtocolError, httpcore.RemoteProtocolError) as error:
        text = str(error)
        if "without sending complete" in text:
            code, what = ExitCode.BODY_TOO_SHORT, "the body is shorter than announced"
        elif "without sending a response" in text:
            code, what = ExitCode.EMPTY_REPLY, "the peer closed without an answer"
        elif text == "Server disconnected":
            code, what = ExitCode.CONNECTION_LOST, "the peer closed before all was said"
        else:
            code, what = ExitCode.CONNECTION_LOST, f"the answer is not HTTP: {text}"
        raise CommandError(f"{url}: {what}", code) from error
    except httpx.DecodingError as error:
        raise CommandError(f"{url}: {error}", ExitCode.CONNECTION_LOST) from error
    except (httpx.ProxyError, httpcore.ProxyError) as error:
        raise CommandError(f"{url}: the proxy: {error}", ExitCode.CANNOT_CONNECT) from error
    except (httpx.LocalProtocolError, httpcore.LocalProtocolError) as error:
        raise UsageProblem(f"{url}: {error}") from error
    except (httpx.ConnectError, httpcore.ConnectError) as error:
        raise CommandError(f"{url}: {error}", ExitCode.CANNOT_CONNECT) from error
    except (httpx.TimeoutException, TimeoutError) as error:
        raise CommandError(f"{url}: {str(error) or 'timed out'}", ExitCode.TIMED_OUT) from error
