"""Whatever is sent to register, from any field: a clear error, and nothing stored."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.cluster import Cluster, loopback_network
from node.exits import ExitCode
from node.limits import MAX_MESSAGE_BYTES
from registry.contact import ContactValue
from registry.errors import Problem
from registry.holder import holder_id_of
from registry.kinds import ContactField
from registry.names import is_canonical, is_within
from registry.wire.v1 import registering_pb2 as pb
from registry.wire.v1 import registration_pb2, registration_pb2_grpc
from registry.wire.v1.registering_pb2_grpc import RegisteringStub
from smtpnic.cli import main
from smtpnic.client.connection import PROBLEM_METADATA

EXAMPLES = 150
SECONDS = 20
KEY = b"k" * 32
NASTY = (
    "",
    " ",
    "=cmd|' /C calc'!A0",
    "+SUM(1)@example.org",
    "ann@example.org\r\nBcc: all@example.net",
    "ann@example.org\n.\nMAIL FROM:<>",
    "=?utf-8?q?=0aBcc:_all=40example.net?=@example.org",
    "a" * 300 + ".example.org",
    "\uff45\uff58\uff41\uff4d\uff50\uff4c\uff45.org",
    "\u0440\u0430\u0443\u0440\u0430l.com",
    "xn--a.example.org",
    "-a.example.org",
    "a..example.org",
    "ex\u00adample.org",
    "\u202egro.elpmaxe",
    "\x00.example.org",
    "mail.example.org; drop table applications",
    "192.0.2.36",
    "192.0.2.036",
    "::ffff:192.0.2.36",
    "fe80::1%lo",
    "\uff11\uff19\uff12.0.2.36",
    "../../etc/passwd",
)
# Of a command: what every program's arguments are, for which no byte may be zero.
COMMAND_EXAMPLES = 40
CONTACT_OPTIONS = ["name", "postal-address", "email", "telephone", "public"]
CODES = {code for code in ExitCode if code not in (ExitCode.INTERNAL, ExitCode.INTERRUPTED)}
texts = st.one_of(st.sampled_from(NASTY), st.text(max_size=60), st.emails())
blobs = st.one_of(
    st.sampled_from((KEY, holder_id_of(KEY), b"", bytes(16), bytes(32))), st.binary(max_size=70)
)
words = texts.filter(lambda text: "\0" not in text)
contacts = st.lists(
    st.builds(
        registration_pb2.ContactValue,
        field=st.integers(0, 7),
        value=st.one_of(texts, st.sampled_from(("Ann", "1 Street", "+41446681800"))),
        public=st.booleans(),
    ),
    max_size=6,
)
REQUESTS: dict[str, st.SearchStrategy[Message]] = {
    "Begin": st.builds(
        pb.BeginRequest,
        holder_id=blobs,
        management_key=blobs,
        address=st.one_of(texts, st.ip_addresses().map(str)),
        host=texts,
        domain=texts,
        contact=contacts,
    ),
    "BeginContact": st.builds(
        pb.BeginContactRequest, holder_id=blobs, management_key=blobs, contact=contacts
    ),
    "BeginRecovery": st.builds(
        pb.BeginRecoveryRequest, holder_id=blobs, management_key=blobs, domain=texts
    ),
    "Check": st.builds(pb.CheckRequest, application_id=blobs, management_key=blobs),
    "Cancel": st.builds(pb.CheckRequest, application_id=blobs, management_key=blobs),
    "ProveAddress": st.builds(pb.ProveAddressRequest, token=texts),
    "ConfirmEmail": st.builds(pb.ConfirmEmailRequest, token=texts),
}


class Desk:
    """One primary that asks for proofs; its resolvers are away, so that nothing is granted."""

    def __init__(self, cluster: Cluster) -> None:
        self.cli_env = cluster.cli_env
        self.database = next(cluster.primary_dir.rglob("*.sqlite3"))
        credentials = grpc.ssl_channel_credentials(cluster.ca.read_bytes())
        self.channel = grpc.secure_channel(cluster.public, credentials)
        self.stub: Any = RegisteringStub(self.channel)
        self.registry: Any = registration_pb2_grpc.RegistryStub(self.channel)

    def rows(self, table: str) -> list[dict[str, Any]]:
        """All of a table, as the database has it now."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]

    def refusal(self, call: Any, request: Message) -> Problem | None:
        """The problem that the call ends with; None if it is taken. Nothing else may happen."""
        error = _error_of(call, request)
        if error is None:
            return None
        metadata = dict(error.trailing_metadata())
        assert PROBLEM_METADATA in metadata, (error.code(), error.details(), request)
        assert error.details().isprintable()
        assert len(error.details()) < 1000
        found = registration_pb2.Problem.FromString(metadata[PROBLEM_METADATA])
        return Problem(found.code, found.message, found.field)


def _error_of(call: Any, request: Message) -> Any:
    try:
        call(request, timeout=SECONDS)
    except grpc.RpcError as error:
        return error
    return None


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    env = {
        "SMTPNIC_PRIMARY_REGISTERING__PROOFS": "true",
        "SMTPNIC_PRIMARY_REGISTERING__RESOLVERS": json.dumps([f"{loopback_network()}.1:53"]),
        "SMTPNIC_PRIMARY_REGISTERING__PER_CLIENT": "100000",
    }
    with Cluster(tmp_path_factory.mktemp("desk"), 0, primary_env=env) as cluster:
        cluster.prepare()
        cluster.start_primary()
        desk = Desk(cluster)
        yield desk
        desk.channel.close()


@pytest.mark.parametrize("method", REQUESTS)
def test_any_field_of_any_request(desk: Desk, method: str) -> None:
    """It is refused with a code and a text, or kept as an application whose fields are sound."""
    entries, letters = desk.rows("entries"), desk.rows("letters")

    @settings(
        max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(request=REQUESTS[method])
    def send(request: Message) -> None:
        problem = desk.refusal(getattr(desk.stub, method), request)
        if problem is not None:
            assert problem.code
            assert problem.message
            return
        assert method == "Begin"

    send()
    assert desk.rows("entries") == entries
    assert desk.rows("letters") == letters
    for row in desk.rows("applications"):
        assert is_canonical(row["host"])
        assert is_within(row["host"], row["domain"])
        assert row["holder_id"] == holder_id_of(KEY)
        for field, value, public in json.loads(row["contact"]):
            ContactValue(ContactField(field), value, public)


def test_a_sound_request_is_taken(desk: Desk) -> None:
    """So that what is refused above is refused for its faults. A homograph is shown as it is."""
    values = {1: "Ann", 2: "1 Street", 3: "ann@example.org", 4: "+41446681800"}
    contact = [
        registration_pb2.ContactValue(field=number, value=value, public=True)  # type: ignore[arg-type]
        for number, value in values.items()
    ]
    request = pb.BeginRequest(
        holder_id=holder_id_of(KEY),
        management_key=KEY,
        address="127.0.0.7",
        host="mail.\u0440\u0430\u0443\u0440\u0430l.com",
        contact=contact,
    )
    view = desk.stub.Begin(request, timeout=SECONDS)
    assert view.host == "mail.xn--l-7sba6dbr.com"
    assert [row["host"] for row in desk.rows("applications")].count(view.host) == 1
    assert desk.rows("letters") == []


def test_too_large_a_message_is_refused(desk: Desk) -> None:
    """Before it is read, whatever it holds; and the next call is served."""
    request = pb.BeginRequest(host="a" * (MAX_MESSAGE_BYTES + 1))
    with pytest.raises(grpc.RpcError) as caught:
        desk.stub.Begin(request, timeout=SECONDS)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert desk.stub.GetTerms(pb.GetTermsRequest(), timeout=SECONDS).proofs


@pytest.mark.parametrize("method", ["CreateHolder", "Register", "Update", "UpdateHolder"])
def test_nothing_is_had_around_the_desk(desk: Desk, method: str) -> None:
    """Changes without proofs, sound or not."""
    name = f"{method}Request"
    fields = getattr(registration_pb2, name).DESCRIPTOR.fields_by_name
    strategies: dict[str, Any] = {"holder_id": blobs, "management_key": blobs}
    if "address" in fields:
        strategies |= {"address": texts, "host": texts, "domain": texts}
    if "contact" in fields:
        strategies["contact"] = contacts

    @settings(max_examples=EXAMPLES // 2, deadline=None, database=None)
    @given(request=st.builds(getattr(registration_pb2, name), **strategies))
    def send(request: Message) -> None:
        assert desk.refusal(getattr(desk.registry, method), request) is not None

    before = desk.rows("entries")
    send()
    assert desk.rows("entries") == before


COMMANDS = {
    "register": (["register"], ["address"], [*("host", "domain", "instead-of"), *CONTACT_OPTIONS]),
    "update": (["update"], ["address"], ["host", "domain"]),
    "withdraw": (["withdraw"], ["address"], []),
    "prove": (["prove"], ["address"], ["token"]),
    "confirm": (["confirm"], ["token"], []),
    "holder update": (["holder", "update"], [], CONTACT_OPTIONS),
    "holder recover": (["holder", "recover"], ["id", "domain"], []),
    "holder show": (["holder", "show"], ["id"], []),
}

# What is looked at before the primary is asked.
SOUND = {"id": st.just(holder_id_of(KEY).hex()), "address": st.just("192.0.2.36")}


@pytest.mark.parametrize("name", COMMANDS)
def test_any_word_on_the_command_line(
    desk: Desk,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An exit code that is documented, an error in JSON, and nothing in the log."""
    command, arguments, options = COMMANDS[name]
    home = {"XDG_DATA_HOME": str(tmp_path), "HOME": str(tmp_path), **desk.cli_env}
    for variable, value in home.items():
        monkeypatch.setenv(variable, value)
    key = tmp_path / "key.json"
    key.write_text(json.dumps({"holder_id": holder_id_of(KEY).hex(), "management_key": KEY.hex()}))
    key.chmod(0o600)
    entries, codes = desk.rows("entries"), set[int]()

    @settings(
        max_examples=COMMAND_EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(
        texts=st.tuples(*(SOUND.get(argument, st.nothing()) | words for argument in arguments)),
        values=st.fixed_dictionaries({}, optional=dict.fromkeys(options, words)),
    )
    def run(texts: tuple[str, ...], values: dict[str, str]) -> None:
        given_options = [f"--{option}={value}" for option, value in values.items()]
        code = main(["--json", f"--holder={key}", *command, *given_options, "--", *texts])
        said = capsys.readouterr()
        assert code in CODES, (code, said)
        assert "Traceback" not in said.err
        codes.add(code)
        if code != ExitCode.USAGE:
            json.loads(said.out or said.err)

    run()
    # Not all are refused before the primary is asked.
    assert codes & {ExitCode.FAILED, ExitCode.REFUSED}, codes
    assert desk.rows("entries") == entries
