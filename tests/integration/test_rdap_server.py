"""RDAP in the WHOIS role, asked over HTTP and by whoisit, a client of others."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest
import whoisit
from whoisit.errors import ResourceDoesNotExist

from registry.kinds import ContactField
from secondary.etcd import EtcdStore
from tests.support.etcd import running_etcd
from tests.support.log_builder import HOLDER_ID, LogBuilder
from tests.support.replicas import StoredLog
from tests.support.roles import RoleProcess, running_role

# whoisit refuses to ask for addresses of documentation.
RDAP_PORT = 7470
SECONDS = 20
BURST = 40


@pytest.fixture(scope="module")
def role(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoleProcess]:
    """The role with RDAP, loaded: a holder who shows the name and telephone, two addresses."""
    directory = tmp_path_factory.mktemp("rdap")
    log = LogBuilder()
    public = {ContactField.NAME: "Example Networks", ContactField.TELEPHONE: "+41 44 668 18 00"}
    log.put_holder(public=public, private={ContactField.EMAIL: "postmaster@example.org"})
    log.put_registration("193.0.0.36", "mail.example.org")
    log.put_registration("2001:67c::36", "mail6.example.org")
    log.commit()
    with running_etcd(directory) as etcd, pytest.MonkeyPatch.context() as patch:
        store = EtcdStore([etcd.endpoint])
        StoredLog(store, log, fresh_s=int(time.time())).put_all()
        process = RoleProcess("whois", directory, log, etcd.endpoint)
        patch.setenv("SMTPNIC_SECONDARY_RDAP__LISTEN", f"{process.address}:{RDAP_PORT}")
        patch.setenv("SMTPNIC_SECONDARY_RDAP__PER_SECOND", "1")
        patch.setenv("SMTPNIC_SECONDARY_RDAP__BURST", str(BURST))
        with running_role(process):
            process.wait_ready()
            yield process
        store.close()


@pytest.fixture
def client(role: RoleProcess) -> Iterator[None]:
    """whoisit, told that this server answers for everything."""
    url = f"http://{role.address}:{RDAP_PORT}/"
    everything = {
        "timestamp": int(time.time()),
        "asn": {"services": [[["1-65535"], [url]]]},
        "dns": {"services": [[["org"], [url]]]},
        "ipv4": {"services": [[["0.0.0.0/0"], [url]]]},
        "ipv6": {"services": [[["::/0"], [url]]]},
        "object": {"services": [[["me@example.org"], ["SMTP"], [url]]]},
    }
    whoisit.clear_bootstrapping()
    whoisit.load_bootstrap_data(json.dumps(everything), allow_insecure=True)
    yield
    whoisit.clear_bootstrapping()


def ask(
    role: RoleProcess, path: str, method: str = "GET", source: str = ""
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers in lower case, body."""
    connection = http.client.HTTPConnection(
        role.address, RDAP_PORT, SECONDS, source_address=(source, 0) if source else None
    )
    connection.request(method, path)
    response = connection.getresponse()
    body = response.read()
    headers = {name.lower(): value for name, value in response.getheaders()}
    connection.close()
    return response.status, headers, body


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize(("address", "length"), [("193.0.0.36", 32), ("2001:67c::36", 128)])
def test_whoisit_understands_an_address(address: str, length: int) -> None:
    """Network, name, status, events and the holder's contact, as another's client reads them."""
    found: dict[str, Any] = whoisit.ip(address)

    assert ip_network(f"{address}/{length}") == found["network"]
    assert ["active", "validated"] == found["status"]
    assert found["registration_date"] is not None
    assert found["last_changed_date"] is not None
    (holder,) = found["entities"]["registrant"]
    assert (HOLDER_ID.hex(), "Example Networks", "+41446681800") == (
        holder["handle"].lower(),
        holder["name"],
        holder["tel"],
    )
    assert "email" not in holder


@pytest.mark.usefixtures("client")
def test_whoisit_understands_a_name_and_a_holder(role: RoleProcess) -> None:
    """domain/ and entity/; and that something is not there."""
    assert "193-0-0-36.smtpnic.org" == whoisit.domain("193-0-0-36.smtpnic.org")["name"]
    url = f"http://{role.address}:{RDAP_PORT}/entity/{HOLDER_ID.hex()}"
    raw = whoisit.Query(whoisit.get_session(), "GET", url).request()
    holder = whoisit.parse(whoisit._bootstrap, "entity", HOLDER_ID.hex(), raw)
    assert ("Example Networks", 2) == (holder["name"], len(holder["networks"]))
    with pytest.raises(ResourceDoesNotExist):
        whoisit.ip("193.0.0.99")


def test_the_headers_are_those_of_the_protocol(role: RoleProcess) -> None:
    """RFC 7480: the media type, any page may ask, HEAD as GET without the body."""
    status, headers, body = ask(role, "/ip/193.0.0.36", source="127.1.1.1")

    assert (200, "application/rdap+json", "*") == (
        status,
        headers["content-type"],
        headers["access-control-allow-origin"],
    )
    assert "193.0.0.36" == json.loads(body)["handle"]
    status, head, nothing = ask(role, "/ip/193.0.0.36", "HEAD", "127.1.1.1")
    assert (200, b"", headers["content-length"]) == (status, nothing, head["content-length"])
    assert 200 == ask(role, "/ip/2001%3A67c%3A%3A36", source="127.1.1.1")[0]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/ip/193.0.0.99", 404),
        ("GET", "/ip/none", 400),
        ("GET", "/" + "x" * 2000, 400),
        ("POST", "/ip/193.0.0.36", 405),
    ],
)
def test_errors_are_json_too(role: RoleProcess, method: str, path: str, status: int) -> None:
    """RFC 9083, 6: for programs and for pages."""
    said, headers, body = ask(role, path, method, "127.1.1.2")

    assert (status, status) == (said, json.loads(body)["errorCode"])
    assert ("application/rdap+json", "*") == (
        headers["content-type"],
        headers["access-control-allow-origin"],
    )


def test_who_asks_too_often_is_told_when_to_come_back(role: RoleProcess) -> None:
    """429 with Retry-After (RFC 7480, 5.5); others are answered."""
    said = [ask(role, "/help", source="127.1.1.3") for _ in range(BURST + 20)]

    assert 200 == said[0][0]
    status, headers, body = said[-1]
    assert (429, 429) == (status, json.loads(body)["errorCode"])
    assert 1 <= int(headers["retry-after"])
    assert 200 == ask(role, "/help", source="127.1.1.4")[0]
    _, metrics = role.page("/metrics")
    assert 'smtpnic_rdap_answers_total{status="429"}' in metrics
