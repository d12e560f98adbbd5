"""Founding a registry, and enrolling its nodes."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from node.certificates import show
from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.mirror_settings import MirrorPlan, Ports, private_address
from node.tls import Identity
from primary.checkpoint_file import CheckpointFile
from primary.clock import clock_ms
from primary.enrolment import Enrolment, enroll, renew, upstream_of
from primary.founding import Plan, found
from primary.keys import Keys
from primary.opening import begin_board, check_log, open_sequencer
from primary.pki import Names, names_of
from primary.rules import Policy
from primary.settings import PrimarySettings
from primary.signing_keys import check_keys, load_keys
from primary.store.store import Store
from registry.board_text import SignedText
from registry.checkpoint import open_checkpoint
from registry.errors import Problem
from registry.root import Root
from secondary.settings import SecondarySettings
from tests.support.boards import ALICE, BOB, sign_root

PLAN = Plan(
    origin="example.org",
    names=Names.parse(["primary.example.org"], ["192.0.2.1"]),
    public=Endpoint("0.0.0.0", 7441),
    nodes=Endpoint("192.0.2.1", 7442),
    http=Endpoint("127.0.0.1", 7440),
    log=Endpoint("127.0.0.1", 7444),
    store="",
    lab=False,
)
MIRROR = MirrorPlan(
    name="alpha",
    origin="example.org",
    listen="198.51.100.7",
    http="127.0.0.1",
    ports=Ports(),
    upstream=Endpoint("192.0.2.1", 7442),
    zone="example.org",
)
NODE = Enrolment(MIRROR, Names.parse(["alpha.example.net"], ["198.51.100.7"]))


@pytest.fixture
def settings(tmp_path: Path) -> PrimarySettings:
    return found(tmp_path / "primary", PLAN)


def test_a_founded_primary_is_ready_to_run(settings: PrimarySettings) -> None:
    """Keys, certificate, database and first checkpoint fit together."""
    keys = load_keys(settings)
    store = Store(settings.store_url)
    try:
        check_log(store, keys.log, CheckpointFile(settings.checkpoint_file))
    finally:
        store.close()
    note = CheckpointFile(settings.checkpoint_file).read()
    assert note is not None
    assert 3 == open_checkpoint(note, keys.log.chain).size
    assert 1 == keys.log.board.version
    identity = Identity.load(settings.tls.certificate, settings.tls.key)
    assert names_of(identity.certificate) == PLAN.names


def test_secrets_are_for_their_owner_only(settings: PrimarySettings) -> None:
    """No key can be read by others, and what they may read holds none."""
    directory = settings.tls.ca.parent
    secret = {"board.key", "log.key", "freshness.key", "ca.key", "server.key"}
    readable = {path.name for path in directory.iterdir() if path.stat().st_mode & 0o077}
    assert not readable & secret
    assert {"primary.toml", "root.note", "ca.pem", "server.pem"} == readable
    assert 0o700 == directory.stat().st_mode & 0o777


def test_a_database_url_is_kept_private(tmp_path: Path) -> None:
    """It may hold a password."""
    url = f"sqlite:///{tmp_path}/elsewhere.sqlite3"
    settings = found(tmp_path / "primary", replace(PLAN, store=url))
    assert url == settings.store_url
    assert 0o600 == (tmp_path / "primary/primary.toml").stat().st_mode & 0o777


def test_nothing_is_overwritten(settings: PrimarySettings) -> None:
    """A second founding in the same place would lose the log's key."""
    before = settings.log_key_file.read_bytes()
    with pytest.raises(ConfigurationError, match="not empty"):
        found(settings.tls.ca.parent, PLAN)
    assert before == settings.log_key_file.read_bytes()


def test_another_log_key_is_not_accepted(settings: PrimarySettings) -> None:
    """Nodes pin the key in the settings: a primary with another one would be useless to them."""
    other = Keys.generate(settings.origin)
    other.save(settings.log_key_file, settings.freshness_key_file)
    with pytest.raises(ConfigurationError, match="names no log key"):
        check_keys(load_keys(settings), 3)


def test_a_board_signs_before_the_log_begins(tmp_path: Path) -> None:
    """With a board of others nothing starts until k of n have signed the root."""
    plan = replace(PLAN, threshold=2, board=(ALICE.member, BOB.member))
    settings = found(tmp_path / "primary", plan)
    text = SignedText.parse(settings.root_file.read_bytes()).text
    with pytest.raises(ConfigurationError, match="smtpnic board sign"):
        load_keys(settings)
    settings.root_file.write_bytes(sign_root(Root.parse(text), ALICE, BOB))
    keys = load_keys(settings)
    with closing(Store(settings.store_url)) as store:
        file = CheckpointFile(settings.checkpoint_file)
        sequencer = open_sequencer(store, keys.log, file, Policy(), clock_ms)
        begin_board(sequencer, keys.log)
        check_keys(keys, sequencer.head.size)
        sequencer.close()
    assert (1, 3) == (keys.log.board.version, sequencer.head.size)


def test_an_enrolled_node_can_start(settings: PrimarySettings, tmp_path: Path) -> None:
    """Its settings load, pin this log's keys, and its certificate is its own."""
    path = enroll(
        settings,
        replace(NODE, plan=replace(MIRROR, etcd=("etcd-0.etcd:2379",))),
        tmp_path / "alpha",
    )
    node = SecondarySettings.load(path)
    assert ("alpha", MIRROR.upstream) == (node.name, node.upstream)
    assert settings.root_file.read_bytes() == node.root_file.read_bytes()
    assert ("etcd-0.etcd:2379",) == node.etcd.endpoints
    assert Endpoint("198.51.100.7", 5353) == node.dns.listen
    assert [7450, 7451, 7452] == [each.http.port for each in (node.follower, node.dns, node.whois)]
    identity = Identity.load(node.tls.certificate, node.tls.key)
    assert NODE.names == names_of(identity.certificate)
    assert 0o600 == node.tls.key.stat().st_mode & 0o777


def test_enrolling_twice_overwrites_nothing(settings: PrimarySettings, tmp_path: Path) -> None:
    """Nor does a name that cannot be one leave a directory behind."""
    enroll(settings, NODE, tmp_path / "alpha")
    with pytest.raises(ConfigurationError, match="not empty"):
        enroll(settings, NODE, tmp_path / "alpha")
    with pytest.raises(Problem, match="another node's name"):
        enroll(settings, NODE, tmp_path / "again")
    with pytest.raises(Problem, match="lower-case"):
        enroll(
            settings, replace(NODE, plan=replace(MIRROR, name="Not a label")), tmp_path / "other"
        )
    assert not (tmp_path / "other").exists()


def test_a_renewed_certificate_has_the_same_names(settings: PrimarySettings) -> None:
    """A new key, a new end, and nothing else changes."""
    before = Identity.load(settings.tls.certificate, settings.tls.key)
    renew(settings)
    after = Identity.load(settings.tls.certificate, settings.tls.key)
    assert names_of(before.certificate) == names_of(after.certificate)
    assert before.key != after.key
    assert show(before.certificate).ends <= show(after.certificate).ends


def test_nodes_are_told_an_address_that_the_certificate_names(tmp_path: Path) -> None:
    """A primary that listens everywhere is found by the first name in its certificate."""
    everywhere = replace(PLAN, nodes=Endpoint("::", 7442))
    assert Endpoint("192.0.2.1", 7442) == upstream_of(found(tmp_path / "any", everywhere))
    assert PLAN.nodes == upstream_of(found(tmp_path / "one", PLAN))
    unknown = replace(PLAN, nodes=Endpoint("127.0.0.1", 0))
    with pytest.raises(ConfigurationError, match="--upstream"):
        upstream_of(found(tmp_path / "port", unknown))


def test_metrics_stay_on_loopback() -> None:
    """They are shown without TLS, so not where strangers come by."""
    assert "127.0.0.1" == private_address("198.51.100.7")
    assert "127.4.5.6" == private_address("127.4.5.6")
