"""Registration and administration at a primary that runs as a process, over real sockets."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from registry.checkpoint import open_checkpoint
from registry.wire.v1 import log_pb2, registration_pb2
from registry.wire.v1 import registration_pb2 as pb
from registry.wire.v1.registration_pb2_grpc import RegistryStub
from tests.support.primaries import RunningPrimary, running_primary
from tests.support.registrant import RPC_SECONDS, Registrant, addresses
from tests.support.wait import wait_until

PROBLEM_KEY = "smtpnic-problem-bin"
CALLS_PER_CLIENT = 8
ENVIRONMENT = {"SMTPNIC_PRIMARY_PUBLIC__CALLS_PER_CLIENT": str(CALLS_PER_CLIENT)}


@pytest.fixture(scope="module")
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPrimary]:
    with running_primary(tmp_path_factory.mktemp("services"), ENVIRONMENT) as running:
        yield running


@pytest.fixture(scope="module")
def channel(primary: RunningPrimary) -> Iterator[grpc.Channel]:
    with primary.public_channel() as channel:
        yield channel


@pytest.fixture(scope="module")
def source() -> Iterator[str]:
    return addresses()


@pytest.fixture
def registrant(channel: grpc.Channel) -> Registrant:
    registrant = Registrant(channel)
    registrant.create_holder()
    return registrant


def _refused(call: BaseException) -> tuple[grpc.StatusCode, pb.Problem]:
    assert isinstance(call, grpc.Call)
    problem = dict(call.trailing_metadata())[PROBLEM_KEY]
    assert isinstance(problem, bytes)
    return call.code(), pb.Problem.FromString(problem)


def test_a_receipt_names_the_record_and_a_checkpoint_that_covers_it(
    primary: RunningPrimary, registrant: Registrant, source: Iterator[str]
) -> None:
    """What is acknowledged can be read at once, at the version in the receipt."""
    done = registrant.register(next(source))
    checkpoint = open_checkpoint(done.checkpoint, primary.keys)
    assert done.index < checkpoint.size
    view = registrant.stub.Get(pb.GetRequest(address=done.address), timeout=RPC_SECONDS)
    assert (done.index, done.address, done.host, registrant.holder_id) == (
        view.version,
        view.address,
        view.registration.host,
        view.registration.holder_id,
    )
    assert log_pb2.STATUS_NEW == view.registration.status


def test_another_management_key_is_refused(
    channel: grpc.Channel, registrant: Registrant, source: Iterator[str]
) -> None:
    """Only who holds the key changes a holder's registrations; the refusal says which part."""
    thief = Registrant(channel, holder_id=registrant.holder_id)
    with pytest.raises(grpc.RpcError) as refusal:
        thief.register(next(source))
    code, problem = _refused(refusal.value)
    assert grpc.StatusCode.PERMISSION_DENIED == code
    assert ("not_yours", "management_key") == (problem.code, problem.field)
    assert problem.message


@pytest.mark.parametrize(
    ("request_", "code", "field"),
    [
        (pb.RegisterRequest(address="192.0.2.999"), grpc.StatusCode.INVALID_ARGUMENT, "address"),
        (pb.RegisterRequest(address="x" * 5000), grpc.StatusCode.INVALID_ARGUMENT, "address"),
        (
            pb.RegisterRequest(address="192.0.2.1", host="mail.example.net", domain="example.org"),
            grpc.StatusCode.INVALID_ARGUMENT,
            "domain",
        ),
        (
            pb.RegisterRequest(
                address="192.0.2.1",
                host="mail.example.org",
                domain="example.org",
                holder_id=bytes(16),
            ),
            grpc.StatusCode.NOT_FOUND,
            "holder_id",
        ),
        (
            pb.RegisterRequest(
                address="192.0.2.1", host="mail.example.org", domain="example.org", holder_id=b"x"
            ),
            grpc.StatusCode.INVALID_ARGUMENT,
            "holder_id",
        ),
    ],
)
def test_a_wrong_request_is_told_its_field(
    channel: grpc.Channel, request_: pb.RegisterRequest, code: grpc.StatusCode, field: str
) -> None:
    """Every problem has its gRPC status, and comes whole in the trailing metadata."""
    request = pb.RegisterRequest(holder_id=bytes(16), management_key=bytes(32))
    request.MergeFrom(request_)
    with pytest.raises(grpc.RpcError) as refusal:
        RegistryStub(channel).Register(request, timeout=RPC_SECONDS)
    found, problem = _refused(refusal.value)
    assert (code, field) == (found, problem.field)


def test_a_holder_without_its_whole_contact_is_refused(channel: grpc.Channel) -> None:
    """Name, address, e-mail and telephone; the refusal names what is missing."""
    request = pb.CreateHolderRequest(
        holder_id=os.urandom(16),
        management_key=os.urandom(32),
        contact=[pb.ContactValue(field=log_pb2.CONTACT_FIELD_NAME, value="Mail Example")],
    )
    with pytest.raises(grpc.RpcError) as refusal:
        RegistryStub(channel).CreateHolder(request, timeout=RPC_SECONDS)
    code, problem = _refused(refusal.value)
    assert grpc.StatusCode.INVALID_ARGUMENT == code
    assert ("contact", "contact") == (problem.code, problem.field)
    assert "postal_address, email, telephone missing" in problem.message


def test_the_same_key_gives_the_same_receipt(registrant: Registrant, source: Iterator[str]) -> None:
    """A client that lost the answer asks again and changes nothing; a new meaning is refused."""
    request = pb.RegisterRequest(
        options=pb.ChangeOptions(idempotency_key=os.urandom(16)),
        holder_id=registrant.holder_id,
        management_key=registrant.management_key,
        address=next(source),
        host="mail.example.org",
        domain="example.org",
    )
    first = registrant.stub.Register(request, timeout=RPC_SECONDS)
    again = registrant.stub.Register(request, timeout=RPC_SECONDS)
    assert first.receipt.index == again.receipt.index
    request.host = "other.example.org"
    with pytest.raises(grpc.RpcError) as refusal:
        registrant.stub.Register(request, timeout=RPC_SECONDS)
    assert "idempotency" == _refused(refusal.value)[1].code


def test_a_change_of_an_old_version_is_aborted(
    registrant: Registrant, source: Iterator[str]
) -> None:
    """Two people who change one record do not overwrite each other unseen."""
    done = registrant.register(next(source))
    update = pb.UpdateRequest(
        options=pb.ChangeOptions(expected_version=done.index),
        holder_id=registrant.holder_id,
        management_key=registrant.management_key,
        address=done.address,
        host="second.example.org",
        domain="example.org",
    )
    registrant.stub.Update(update, timeout=RPC_SECONDS)
    update.host = "third.example.org"
    with pytest.raises(grpc.RpcError) as refusal:
        registrant.stub.Update(update, timeout=RPC_SECONDS)
    assert grpc.StatusCode.ABORTED == _refused(refusal.value)[0]


def test_only_public_contact_is_shown(registrant: Registrant) -> None:
    """The rest is in no answer, only committed to (P6)."""
    request = pb.GetHolderRequest(holder_id=registrant.holder_id)
    view = registrant.stub.GetHolder(request, timeout=RPC_SECONDS)
    assert {"Mail Example", "postmaster@example.org"} == {each.value for each in view.contact}
    assert 4 == len(view.holder.commitments)
    assert b"Example Street" not in view.SerializeToString()


def test_a_holder_is_withdrawn_after_its_registrations(
    registrant: Registrant, source: Iterator[str]
) -> None:
    """Nothing is left without a holder."""
    done = registrant.register(next(source))
    request = pb.WithdrawHolderRequest(
        holder_id=registrant.holder_id, management_key=registrant.management_key
    )
    with pytest.raises(grpc.RpcError) as refusal:
        registrant.stub.WithdrawHolder(request, timeout=RPC_SECONDS)
    assert grpc.StatusCode.FAILED_PRECONDITION == _refused(refusal.value)[0]
    registrant.withdraw(done.address)
    registrant.stub.WithdrawHolder(request, timeout=RPC_SECONDS)
    with pytest.raises(grpc.RpcError) as gone:
        registrant.stub.Get(pb.GetRequest(address=done.address), timeout=RPC_SECONDS)
    assert grpc.StatusCode.NOT_FOUND == _refused(gone.value)[0]


def test_pages_together_are_the_list(registrant: Registrant, source: Iterator[str]) -> None:
    """Page after page, each registration once, in the order of the addresses."""
    made = [registrant.register(next(source)).address for _ in range(7)]
    request = pb.ListRequest(page_size=3, holder_id=registrant.holder_id)
    pages = []
    while True:
        response = registrant.stub.List(request, timeout=RPC_SECONDS)
        pages.append([view.address for view in response.registrations])
        if not response.next_page_token:
            break
        request.page_token = response.next_page_token
    assert [3, 3, 1] == [len(page) for page in pages]
    assert sorted(made) == sorted(address for page in pages for address in page)
    holders = registrant.stub.ListHolders(pb.ListHoldersRequest(), timeout=RPC_SECONDS)
    assert registrant.holder_id in [view.holder_id for view in holders.holders]
    with pytest.raises(grpc.RpcError) as refusal:
        registrant.stub.List(pb.ListRequest(page_token="no token"), timeout=RPC_SECONDS)
    assert "page_token" == _refused(refusal.value)[1].field


def _registers(registrant: Registrant, made: list[str]) -> list[pb.Change]:
    return [
        pb.Change(
            register=pb.RegisterRequest(
                holder_id=registrant.holder_id,
                management_key=registrant.management_key,
                address=address,
                host="mail.example.org",
                domain="example.org",
            )
        )
        for address in made
    ]


def test_a_stream_of_changes_is_answered_in_order(
    primary: RunningPrimary, registrant: Registrant, source: Iterator[str]
) -> None:
    """One response a request, one outcome a change; a refused one does not stop the others."""
    requests = [
        pb.SubmitRequest(changes=_registers(registrant, [next(source) for _ in range(count)]))
        for count in (1, 130, 600, 2)
    ]
    requests[1].changes[64].register.address = "nowhere"
    requests[1].changes[65].Clear()
    responses = list(registrant.stub.Submit(iter(requests), timeout=60))
    assert [1, 130, 600, 2] == [len(response.outcomes) for response in responses]
    outcomes = [outcome for response in responses for outcome in response.outcomes]
    problems = [each.problem.field or each.problem.code for each in outcomes if each.problem.code]
    assert ["address", "change"] == problems
    indexes = [each.index for each in outcomes if not each.problem.code]
    assert sorted(set(indexes)) == indexes
    for response in responses:
        checkpoint = open_checkpoint(response.checkpoint, primary.keys)
        assert all(outcome.index < checkpoint.size for outcome in response.outcomes)


@pytest.mark.parametrize("count", [0, 601])
def test_a_request_of_a_stream_is_bounded(registrant: Registrant, count: int) -> None:
    """A stream that sends too much at once ends with the reason."""
    request = pb.SubmitRequest(changes=[pb.Change()] * count)
    with pytest.raises(grpc.RpcError) as refusal:
        list(registrant.stub.Submit(iter([request]), timeout=RPC_SECONDS))
    call: BaseException = refusal.value
    assert isinstance(call, grpc.Call)
    assert grpc.StatusCode.INVALID_ARGUMENT == call.code()


def test_statistics_count_the_register(registrant: Registrant, source: Iterator[str]) -> None:
    """A registration more is one more, and the serial has risen."""
    request = registration_pb2.GetStatisticsRequest()
    before = registrant.stub.GetStatistics(request, timeout=RPC_SECONDS)
    registrant.register(next(source))
    after = registrant.stub.GetStatistics(request, timeout=RPC_SECONDS)
    assert before.registrations + 1 == after.registrations
    assert before.zone_serial < after.zone_serial
    assert before.last_change_ms <= after.last_change_ms
    assert 0 == len(after.days)


def test_statistics_have_a_history_for_who_asks(
    registrant: Registrant, source: Iterator[str]
) -> None:
    """By day, status, IP version and age, and how many domains there are."""
    registrant.register(next(source))
    request = registration_pb2.GetStatisticsRequest(history=True)
    found = registrant.stub.GetStatistics(request, timeout=RPC_SECONDS)
    today = found.days[-1]
    totals = [found.ipv4, found.ipv6]
    assert found.registrations == sum(t.new + t.active + t.lapsed + t.suspended for t in totals)
    assert found.registrations == sum(age.registrations for age in found.ages)
    assert found.domains == today.domains
    assert found.ipv4 == today.ipv4
    assert 1 <= today.registered


def test_health_and_reflection_stand_beside_the_service(channel: grpc.Channel) -> None:
    """Load balancers and grpcurl find what they need."""
    answer = health_pb2_grpc.HealthStub(channel).Check(
        health_pb2.HealthCheckRequest(service="smtpnic.v1.Registry"), timeout=RPC_SECONDS
    )
    assert health_pb2.HealthCheckResponse.SERVING == answer.status
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    reflected = reflection_pb2_grpc.ServerReflectionStub(channel)
    (listed,) = reflected.ServerReflectionInfo(iter([asked]), timeout=RPC_SECONDS)
    names = {service.name for service in listed.list_services_response.service}
    assert {"smtpnic.v1.Registry", "grpc.health.v1.Health"} <= names
    assert not names & {"smtpnic.v1.Replication", "smtpnic.v1.Administration"}


def test_one_address_does_not_take_all_calls(primary: RunningPrimary) -> None:
    """Streams that wait on many connections are counted together, health checks too."""
    request = health_pb2.HealthCheckRequest()
    with primary.public_channel() as first, primary.public_channel() as second:
        stubs = [health_pb2_grpc.HealthStub(each) for each in (first, second)]
        held = [stubs[number % 2].Watch(request) for number in range(CALLS_PER_CLIENT)]
        for watch in held:
            next(watch)
        with pytest.raises(grpc.RpcError) as refusal:
            stubs[0].Check(request, timeout=RPC_SECONDS)
        call: BaseException = refusal.value
        assert isinstance(call, grpc.Call)
        assert grpc.StatusCode.RESOURCE_EXHAUSTED == call.code()
        with primary.local_channel() as local:
            health_pb2_grpc.HealthStub(local).Check(request, timeout=RPC_SECONDS)
    with primary.public_channel() as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        def answered() -> bool:
            try:
                return bool(stub.Check(request, timeout=RPC_SECONDS).status)
            except grpc.RpcError:
                return False

        wait_until(answered, seconds=RPC_SECONDS, what="room after the streams' end")


def test_administration_is_for_the_owner_of_the_socket(
    primary: RunningPrimary, source: Iterator[str]
) -> None:
    """Only the user that runs the primary opens the socket; registering works there too."""
    socket: Path = primary.cluster.primary_dir / "run/admin.sock"
    assert 0o600 == stat.S_IMODE(socket.stat().st_mode)
    assert 0o700 == stat.S_IMODE(socket.parent.stat().st_mode)
    with primary.local_channel() as channel:
        registrant = Registrant(channel)
        registrant.create_holder()
        registrant.register(next(source))
    status = json.loads(primary.command("status", "--json"))
    assert ("smtpnic.org", "sqlite") == (status["origin"], status["store"])
    assert registrant.acknowledged[-1].index < status["size"]


def test_a_running_primary_can_be_checked(
    primary: RunningPrimary, registrant: Registrant, source: Iterator[str]
) -> None:
    """The whole log, its state and its tiles hold."""
    registrant.register(next(source))
    assert "lead to the signed root" in primary.command("check")
