"""docs/openapi.yaml against the servers: what it says of RDAP, the log and health is so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import checks

from lab.cluster import PRIMARY_HTTP_PORT, PRIMARY_LOG_PORT, loopback_network
from tests.support.primaries import RunningPrimary, running_primary
from tests.support.registrant import Registrant
from tests.support.wait import wait_until

DESCRIPTION = Path(__file__).parents[2] / "docs" / "openapi.yaml"
WHOIS_PORT, RDAP_PORT, LOOKUP_HTTP_PORT = 4343, 7470, 7471
SECONDS = 30
# Of each operation, besides its example and what is left out or of another kind.
EXAMPLES = 40
ADDRESS = "198.18.1.1"
CHECKS: list[Any] = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.unsupported_method,
]
SCHEMA = schemathesis.openapi.from_path(DESCRIPTION)
# An operation that is not described well has no `ok`.
FOUND: list[Any] = list(SCHEMA.get_all_operations())
OPERATIONS: dict[str, Any] = {found.ok().label: found.ok() for found in FOUND}


class Servers:
    """A primary that answers RDAP, with one registration."""

    def __init__(self, primary: RunningPrimary, lookup: str, holder_id: bytes) -> None:
        address = primary.cluster.primary_address
        self.urls = {
            "rdap": f"http://{lookup}:{RDAP_PORT}",
            "log": f"http://{address}:{PRIMARY_LOG_PORT}",
            "health": f"http://{address}:{PRIMARY_HTTP_PORT}",
        }
        self.known = {
            "GET /ip/{address}": {"address": ADDRESS},
            "GET /domain/{name}": {"name": f"{ADDRESS.replace('.', '-')}.smtpnic.org"},
            "GET /entity/{handle}": {"handle": holder_id.hex()},
            "GET /help": {},
            "GET /checkpoint": {},
            "GET /tile/{level}/{number}.p/{width}": {"level": 0, "number": "000", "width": 1},
            "GET /tile/entries/{number}.p/{width}": {"number": "000", "width": 1},
            "GET /livez": {},
            "GET /readyz": {},
            "GET /metrics": {},
        }

    def url_of(self, label: str) -> str:
        """The listener of an operation."""
        return self.urls[OPERATIONS[label].tags[0]]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """All three listeners, loaded."""
    lookup = f"{loopback_network()}.9"
    environment = {
        "SMTPNIC_PRIMARY_WHOIS__LISTEN": f"{lookup}:{WHOIS_PORT}",
        "SMTPNIC_PRIMARY_WHOIS__PAUSE_SECONDS": "0.05",
        "SMTPNIC_PRIMARY_RDAP__LISTEN": f"{lookup}:{RDAP_PORT}",
        "SMTPNIC_PRIMARY_RDAP__PER_SECOND": "0",
    }
    with running_primary(tmp_path_factory.mktemp("described"), environment) as primary:
        with primary.public_channel() as channel:
            registrant = Registrant(channel)
            registrant.create_holder()
            registrant.register(ADDRESS)
        servers = Servers(primary, lookup, registrant.holder_id)
        for label, path in servers.known.items():
            wait_until(
                lambda label=label, path=path: ask(servers, label, path) == 200,  # type: ignore[misc]
                seconds=SECONDS,
                what=f"{label} of {path}",
            )
        yield servers


def ask(servers: Servers, label: str, path: dict[str, object]) -> int:
    """The status; 0 while nothing listens."""
    try:
        case = OPERATIONS[label].Case(path_parameters=path)
        return int(case.call(base_url=servers.url_of(label)).status_code)
    except OSError:
        return 0


@pytest.mark.parametrize("label", sorted(OPERATIONS))
def test_what_is_there_is_as_described(servers: Servers, label: str) -> None:
    """Status, type, headers and every member of what is found; nothing else is answered with."""
    path = servers.known.get(label)
    if path is None:
        # A log of so few entries has no full tile; and name servers are not registered.
        path = {"level": 0, "number": "000", "name": "ns.example.org"}
        path = {one.name: path[one.name] for one in OPERATIONS[label].path_parameters}
        assert ask(servers, label, path) == 404
    case = OPERATIONS[label].Case(path_parameters=path)
    case.call_and_validate(base_url=servers.url_of(label), checks=CHECKS)


@pytest.mark.parametrize("label", sorted(OPERATIONS))
def test_any_question_is_answered_as_described(servers: Servers, label: str) -> None:
    """Whatever stands in a path, no fault of the server's, and no answer of another form."""

    @given(OPERATIONS[label].as_strategy())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def run(case: schemathesis.Case[Any]) -> None:
        case.call_and_validate(base_url=servers.url_of(label), checks=CHECKS)

    run()


@pytest.mark.parametrize(
    "path",
    [{"address": "192.0.2.1\n192.0.2.2"}, {"address": "\0"}, {"address": "::ffff:192.0.2.1"}],
)
def test_what_is_no_line_is_refused_as_described(servers: Servers, path: dict[str, object]) -> None:
    """An error of RDAP's own, and not one of the server below it."""
    case = OPERATIONS["GET /ip/{address}"].Case(path_parameters=path)
    response = case.call_and_validate(base_url=servers.urls["rdap"], checks=CHECKS)

    assert response.status_code in (400, 404)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("label", ["GET /checkpoint", "GET /livez", "GET /help"])
def test_nothing_is_written(servers: Servers, label: str, method: Any) -> None:
    """Every other method is refused, and the answer says which are not."""
    case = OPERATIONS[label].Case(method=method)
    response = case.call(base_url=servers.url_of(label))

    assert response.status_code == 405
    assert response.headers["allow"] == ["GET, HEAD"]
