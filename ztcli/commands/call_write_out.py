"""The text of zt call --write-out: curl's variables, and those of a network like ours."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx

from ztcli.exit_codes import UsageProblem
from ztcli.journal import Journal

Value = str | int | float
_VARIABLE: Final = re.compile(r"%(?:(%)|\{(\w+)\}|header\{([^}]*)\})")
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}
_ESCAPE: Final = re.compile(r"\\([nrt\\])")
STDOUT: Final = "stdout"
STDERR: Final = "stderr"


@dataclass(slots=True)
class Outcome:
    """How a request ended: its last response, if there was one, and what zt made of it."""

    method: str
    url: str
    journal: Journal
    response: httpx.Response | None = None
    file_name: str = ""
    code: int = 0
    message: str = ""

    def values(self) -> dict[str, Value]:
        """Return every variable, by name."""
        total = self.journal.now()
        return {**self._of_response(total), **self._of_connection(total)}

    def _of_response(self, total: float) -> dict[str, Value]:
        found = self.response
        size = found.num_bytes_downloaded if found is not None else 0
        status = found.status_code if found is not None else 0
        headers = found.headers if found is not None else httpx.Headers()
        location = headers.get("location", "")
        version = found.http_version.removeprefix("HTTP/") if found is not None else "0"
        return {
            "content_type": headers.get("content-type", ""),
            "errormsg": self.message,
            "exitcode": self.code,
            "filename_effective": self.file_name,
            "http_code": status,
            "http_version": version,
            "method": self.method,
            "num_headers": len(headers.raw),
            "num_redirects": len(found.history) if found is not None else 0,
            "redirect_url": str(found.url.join(location)) if found is not None and location else "",
            "response_code": status,
            "scheme": found.url.scheme if found is not None else httpx.URL(self.url).scheme,
            "size_download": size,
            "speed_download": int(size / total) if total > 0 else 0,
            "url": self.url,
            "url_effective": str(found.url) if found is not None else self.url,
        }

    def _of_connection(self, total: float) -> dict[str, Value]:
        journal = self.journal
        return {
            "local_ip": journal.local[0],
            "local_port": journal.local[1],
            "network": journal.network,
            "num_connects": journal.connects,
            "path": journal.path,
            "peer_node": journal.node,
            "remote_ip": journal.remote[0],
            "remote_port": journal.remote[1],
            "time_appconnect": journal.secured,
            "time_connect": journal.connected,
            "time_join": journal.joined,
            "time_path": journal.direct,
            "time_starttransfer": journal.answered,
            "time_total": total,
        }


NAMES: Final = frozenset(Outcome("", "", Journal()).values())
_OTHERS: Final = frozenset(("json", STDOUT, STDERR))


def check(template: str) -> None:
    """Refuse a variable that does not exist."""
    for found in _VARIABLE.finditer(template):
        name = found[2]
        if name and name not in NAMES | _OTHERS:
            near = difflib.get_close_matches(name, NAMES | _OTHERS, n=1)
            hint = f"did you mean %{{{near[0]}}}?" if near else ""
            raise UsageProblem(f"--write-out: there is no variable %{{{name}}}", hint)


def pieces(template: str, outcome: Outcome) -> list[tuple[str, str]]:
    """Return what is to be written, each piece with the stream that it is for."""
    values = outcome.values()
    where, text, found = STDOUT, "", []
    end = 0
    template = _ESCAPE.sub(lambda escape: _ESCAPES[escape[1]], template)
    for one in _VARIABLE.finditer(template):
        text += template[end : one.start()]
        end = one.end()
        if one[2] in (STDOUT, STDERR):
            found.append((where, text))
            where, text = one[2], ""
            continue
        text += _text(one, values, outcome)
    found.append((where, text + template[end:]))
    return [(stream, piece) for stream, piece in found if piece]


def _text(found: re.Match[str], values: Mapping[str, Value], outcome: Outcome) -> str:
    if found[1]:
        return "%"
    if found[3] is not None:
        response = outcome.response
        return response.headers.get(found[3], "") if response is not None else ""
    if found[2] == "json":
        return json.dumps({name: _rounded(value) for name, value in values.items()})
    return _written(found[2], values[found[2]])


def _rounded(value: Value) -> Value:
    return round(value, 6) if isinstance(value, float) else value


def _written(name: str, value: Value) -> str:
    if isinstance(value, float):
        return f"{value:.6f}"
    return f"{value:03}" if name in ("http_code", "response_code") else str(value)
