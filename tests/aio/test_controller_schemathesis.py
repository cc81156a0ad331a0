"""The HTTP interface against requests made of its own OpenAPI document, right and wrong.

What the document says is gone through part by part, the same each time; with the profile `long` of
hypothesis random requests come on top.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import load_all_checks, positive_data_acceptance
from schemathesis.specs.openapi.checks import ignored_auth
from starlette.types import Receive, Scope, Send

from tests.support.asgi_adapter import BASE_URL, session
from tests.support.switches import START_US, SeededEntropy, known_identities
from ztstack.aio.controller_asgi import DOCUMENT_PATH, TOKEN_HEADER, ServedNode, application
from ztstack.base.trace import ListTracer
from ztstack.controller.api import OPERATIONS, Operation
from ztstack.controller.controller import Controller
from ztstack.controller.store import MemoryStore

pytestmark = pytest.mark.timeout(120)  # A network's record makes a thousand requests.

ME = known_identities()[0]
TOKEN = "0123456789abcdefghijklmn"
HEADERS = {TOKEN_HEADER: TOKEN}
IS_LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
RANDOM_EXAMPLES = 500
MANY_NETWORKS = 100
"""So many may be there; a controller has a limit, which is tested elsewhere."""


def status() -> Mapping[str, object]:
    return {
        "address": str(ME.address),
        "publicIdentity": ME.public_text(),
        "online": False,
        "version": "1.0.0",
        "clock": 0,
    }


def new_controller() -> Controller:
    made = Controller(START_US, ME, MemoryStore(), SeededEntropy(1), ListTracer())
    made.create_network(START_US, name="there")
    return made


class Served:
    """The application of the controller that answers now; each test has its own."""

    def __init__(self) -> None:
        self.session = session(self)
        self.renew()

    def renew(self) -> None:
        self.controller = new_controller()
        node = ServedNode(self.controller, lambda: START_US, lambda: None, status)
        self._application = application(node, TOKEN)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._application(scope, receive, send)


SERVED = Served()
DOCUMENT = SERVED.session.get(BASE_URL + DOCUMENT_PATH, headers=HEADERS).json()
# A new network has the body of a changed one, which is enough to be gone through once.
CONFIG = schemathesis.Config.from_dict(
    {
        "operations": [
            {"include-name": "POST /controller/network", "phases": {"coverage": {"enabled": False}}}
        ]
    }
)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT, config=CONFIG)
load_all_checks()


# What no schema can say: an order, a family, one notation for addresses with a length.
BEYOND_SCHEMAS = (
    "a pool goes from the lower to the higher address",
    "is not of the family of",
    "is not ADDRESS/BITS",
)


@pytest.fixture(autouse=True)
def controller() -> Controller:
    SERVED.renew()
    return SERVED.controller


# PUT does what POST does, by the same function.
@SCHEMA.exclude(method="PUT").parametrize()
@settings(
    max_examples=RANDOM_EXAMPLES,
    phases=tuple(Phase) if IS_LONG else (Phase.explicit,),
    deadline=None,
    derandomize=not IS_LONG,
    suppress_health_check=list(HealthCheck),
)
def test_the_interface_is_as_it_says(case: schemathesis.Case[Any]) -> None:
    controller = SERVED.controller
    for record in controller.networks()[MANY_NETWORKS:]:
        controller.delete_network(START_US, record.id)
    if not controller.networks():
        controller.create_network(START_US)
    parameters = case.path_parameters
    network = str(parameters.get("network", ""))
    if re.fullmatch(r"[0-9a-f]{15}[02468ace]", network):
        # Half of the possible ids lead to a network that is there.
        parameters["network"] = str(controller.networks()[0].id)
    response = case.call(BASE_URL, SERVED.session, headers=HEADERS)
    words = response.text if response.status_code == 400 else ""
    # Who may ask is the business of the next test.
    excluded = [ignored_auth]
    if any(w in words for w in BEYOND_SCHEMAS):
        excluded.append(positive_data_acceptance)
    case.validate_response(response, excluded_checks=excluded)


WRONG = TOKEN[:-1] + "x"


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_who_has_no_token_gets_nothing(operation: Operation, controller: Controller) -> None:
    network = controller.networks()[0].id
    path = BASE_URL + operation.path.format(network=network, member="0123456789")

    def ask(headers: Mapping[str, str], query: str = "") -> int:
        return SERVED.session.request(operation.method, path + query, headers=headers).status_code

    for headers in ({}, {TOKEN_HEADER: WRONG}, {TOKEN_HEADER: ""}):
        assert ask(headers) == 401
    assert ask({"Authorization": f"Bearer {WRONG}"}) == ask({}, f"?auth={WRONG}") == 401
    assert [record.id for record in controller.networks()] == [network]
    assert controller.members(network) == []
    for headers in (HEADERS, {"Authorization": f"Bearer {TOKEN}"}):
        assert ask(headers) in (200, 404)
    assert ask({}, f"?auth={TOKEN}") in (200, 404)
