"""The options of zt call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from ztcli.exit_codes import UsageProblem

Text = str | None
Texts = list[str] | None


@dataclass(frozen=True, slots=True)
class CallOptions:
    """Options of zt call, as written."""

    target: Annotated[
        Text, typer.Argument(metavar="[TARGET]", help="URL, HOST:PORT, or HOST before a port.")
    ] = None
    port: Annotated[Text, typer.Argument(metavar="[PORT]", help="Port, or ports with -z.")] = None
    url: Annotated[Text, typer.Option("--url", help="The target as a URL.")] = None
    # Streams.
    stdio: Annotated[bool, typer.Option("--stdio", help="Say nothing, for ProxyCommand.")] = False
    test: Annotated[bool, typer.Option("-z", "--test", help="Test whether ports are open.")] = False
    send_only: Annotated[bool, typer.Option("--send-only", help="Discard what arrives.")] = False
    recv_only: Annotated[bool, typer.Option("--recv-only", help="Send nothing.")] = False
    no_stdin: Annotated[bool, typer.Option("--no-stdin", help="Never read stdin.")] = False
    no_shutdown: Annotated[
        bool, typer.Option("--no-shutdown", help="No FIN when the input ends.")
    ] = False
    keep_sending: Annotated[
        bool, typer.Option("--keep-sending", help="Go on until the input ends too.")
    ] = False
    idle_timeout: Annotated[
        Text, typer.Option("--idle-timeout", metavar="DUR", help="End when nothing moves.")
    ] = None
    linger: Annotated[
        Text, typer.Option("--linger", metavar="DUR", help="Wait for the last acknowledgement.")
    ] = None
    crlf: Annotated[bool, typer.Option("--crlf", help="Send line ends as CR LF.")] = False
    delay: Annotated[Text, typer.Option("--delay", metavar="DUR", help="Between lines.")] = None
    source: Annotated[Text, typer.Option("--source", "-s", help="Our address.")] = None
    source_port: Annotated[Text, typer.Option("--source-port", "-p", help="Our port.")] = None
    ipv4: Annotated[bool, typer.Option("-4", help="IPv4 only.")] = False
    ipv6: Annotated[bool, typer.Option("-6", help="IPv6 only.")] = False
    exec: Annotated[Text, typer.Option("--exec", metavar="CMD", help="Join a command.")] = None
    sh: Annotated[Text, typer.Option("--sh", metavar="CMD", help="The same by a shell.")] = None
    hexdump: Annotated[
        Text, typer.Option("--hexdump", "-x", metavar="FILE|-", help="Write down all that passes.")
    ] = None
    progress: Annotated[
        bool, typer.Option("--progress", help="Tell on stderr how much has passed.")
    ] = False
    raw: Annotated[
        bool, typer.Option("--raw", help="Control characters as they are, also to a terminal.")
    ] = False
    # TLS.
    tls: Annotated[bool, typer.Option("--tls", help="TLS on the stream.")] = False
    cacert: Annotated[Text, typer.Option("--cacert", metavar="FILE", help="Trusted roots.")] = None
    cert: Annotated[Text, typer.Option("--cert", metavar="FILE", help="Our certificate.")] = None
    key: Annotated[Text, typer.Option("--key", metavar="FILE", help="Its private key.")] = None
    servername: Annotated[Text, typer.Option("--servername", help="Name to expect.")] = None
    alpn: Annotated[Text, typer.Option("--alpn", help="Protocols to offer.")] = None
    insecure: Annotated[bool, typer.Option("--insecure", "-k", help="Trust every certificate.")] = (
        False
    )
    # HTTP.
    request: Annotated[
        Text, typer.Option("--request", "-X", metavar="METHOD", help="The method.")
    ] = None
    header: Annotated[Texts, typer.Option("--header", "-H", metavar="'K: V'", help="Or @FILE.")] = (
        None
    )
    data: Annotated[
        Texts, typer.Option("--data", "-d", metavar="DATA|@FILE|@-", help="Post a form.")
    ] = None
    data_raw: Annotated[Texts, typer.Option("--data-raw", help="The same, @ is not special.")] = (
        None
    )
    data_binary: Annotated[Texts, typer.Option("--data-binary", help="The same, unchanged.")] = None
    json_data: Annotated[Text, typer.Option("--json-data", help="Post JSON.")] = None
    form: Annotated[
        Texts, typer.Option("--form", "-F", metavar="NAME=VALUE|@FILE", help="Post parts.")
    ] = None
    upload_file: Annotated[
        Text, typer.Option("--upload-file", "-T", metavar="FILE|-", help="Put a file.")
    ] = None
    include: Annotated[bool, typer.Option("--include", "-i", help="Print headers too.")] = False
    head: Annotated[bool, typer.Option("--head", "-I", help="Headers only.")] = False
    output: Annotated[
        Text,
        typer.Option("--output", "-o", metavar="FILE", help="Where the body goes; - is stdout."),
    ] = None
    remote_name: Annotated[
        bool, typer.Option("--remote-name", "-O", help="Name the file as the URL does.")
    ] = False
    location: Annotated[bool, typer.Option("--location", "-L", help="Follow redirects.")] = False
    max_redirs: Annotated[
        int, typer.Option("--max-redirs", min=0, help="How many redirects are followed.")
    ] = 50
    fail: Annotated[bool, typer.Option("--fail", "-f", help="Exit 22 from status 400.")] = False
    fail_with_body: Annotated[
        bool, typer.Option("--fail-with-body", help="The same, and print the body.")
    ] = False
    user: Annotated[
        Text, typer.Option("--user", "-u", metavar="USER", help="Who we are there.")
    ] = None
    password_file: Annotated[
        Text, typer.Option("--password-file", metavar="FILE", help="The password of --user.")
    ] = None
    user_agent: Annotated[
        Text, typer.Option("--user-agent", "-A", help="What we call ourselves.")
    ] = None
    compressed: Annotated[bool, typer.Option("--compressed", help="Accept compression.")] = False
    resolve: Annotated[
        Texts,
        typer.Option(
            "--resolve", metavar="HOST:PORT:ADDRESS", help="Where a host is, for this URL."
        ),
    ] = None
    proxy: Annotated[
        Text, typer.Option("--proxy", metavar="URL", help="A proxy in the network: http, socks5h.")
    ] = None
    retry: Annotated[int, typer.Option("--retry", min=0, help="Try again on failures.")] = 0
    retry_delay: Annotated[
        Text,
        typer.Option("--retry-delay", metavar="DUR", help="Pause before a retry; else it grows."),
    ] = None
    retry_connrefused: Annotated[
        bool, typer.Option("--retry-connrefused", help="Also where nobody listens yet.")
    ] = False
    retry_max_time: Annotated[
        Text, typer.Option("--retry-max-time", metavar="DUR", help="No retry after so long.")
    ] = None
    write_out: Annotated[
        Text, typer.Option("--write-out", "-w", metavar="FORMAT", help="Print %{http_code} etc.")
    ] = None
    http1_1: Annotated[bool, typer.Option("--http1.1", help="The default.")] = False
    http2: Annotated[
        bool, typer.Option("--http2", help="HTTP/2: offered with https, spoken at once with http.")
    ] = False
    http: Annotated[
        Text, typer.Option("--http", metavar="overlay|os", help="Which network stack.")
    ] = None

    @property
    def family(self) -> int:
        if self.ipv4 and self.ipv6:
            raise UsageProblem("-4 and -6 exclude each other")
        return 4 if self.ipv4 else 6 if self.ipv6 else 0
