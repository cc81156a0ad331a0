from __future__ import annotations

import pytest

from ztcli.config_lines import Place, line_of

TEXT = """\
# a file
network = "lab"

[hosts]
"db.lan" = "10.0.0.1"  # with dots
[[forward]]
spec = "1:a:1"
[[forward]] # the second
spec = "2:b:2"
[profile.ci.call]
idle_timeout = "1m"
[profile."a b"]
call.idle-timeout = "2m"
"""


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("network",), 2),
        (("hosts",), 4),
        (("hosts", "db.lan"), 5),
        (("forward", 0), 6),
        (("forward", 0, "spec"), 7),
        (("forward", 1, "spec"), 9),
        (("profile", "ci", "call", "idle_timeout"), 11),
        (("profile", "a b", "call", "idle-timeout"), 13),
        (("spec",), None),
        (("profile", "ci", "network"), None),
    ],
)
def test_lines(place: Place, line: int | None) -> None:
    assert line_of(TEXT, place) == line
