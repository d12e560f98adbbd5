"""Founds a registry: keys, authority, settings, an empty database and its first checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from node.endpoint import Endpoint
from node.files import PRIVATE_MODE, write_atomic
from node.scaffold import DIRECTORY_MODE, PUBLIC_MODE, Table, Value, make_empty, toml
from primary.checkpoint_file import CheckpointFile
from primary.clock import clock_ms
from primary.keys import Keys
from primary.opening import begin_board, open_sequencer
from primary.pki import Authority, Names, authority_digest
from primary.rules import Policy
from primary.settings import PrimarySettings
from primary.signing_keys import load_keys
from primary.store.store import Store
from registry import sshsig
from registry.board_text import BoardMember, SignedText
from registry.root import DAY, NAMESPACE, LogKey, Policies, Root
from registry.ssh_keys import SshKey

SETTINGS_NAME: Final = "primary.toml"
BOARD_KEY_NAME: Final = "board.key"
# A year; members meet more often than that.
ROOT_SECONDS: Final = 365 * DAY


@dataclass(frozen=True, slots=True)
class Plan:
    """What a new primary is to be: its log's name, its own names, where it listens.

    `store` is a database URL; empty: an SQLite file of its own. `lab` as in the settings.
    `threshold` of `board` have to sign the founding root; without a board one of a single key is
    made, which signs at once.
    """

    origin: str
    names: Names
    public: Endpoint
    nodes: Endpoint
    http: Endpoint
    log: Endpoint
    store: str
    lab: bool
    threshold: int = 0
    board: tuple[BoardMember, ...] = ()


def found(directory: Path, plan: Plan) -> PrimarySettings:
    """Makes the primary's directory, and the log's first batches, durably.

    With a board the log begins at the first start, when the root has been signed.
    ConfigurationError: the directory holds something already. Nothing that exists is changed.
    """
    make_empty(directory)
    now = datetime.now(UTC)
    keys = Keys.generate(plan.origin)
    authority = Authority.create(plan.origin, now)
    settings_file = directory / SETTINGS_NAME
    write_atomic(settings_file, toml(_settings(plan)), _settings_mode(plan))
    settings = PrimarySettings.load(settings_file)
    server = authority.issue_server(plan.names, now, settings.authority.certificate_days)

    keys.save(settings.log_key_file, settings.freshness_key_file)
    write_atomic(settings.authority.key, authority.identity.key)
    write_atomic(settings.tls.ca, authority.identity.certificate, PUBLIC_MODE)
    write_atomic(settings.tls.key, server.key)
    write_atomic(settings.tls.certificate, server.certificate, PUBLIC_MODE)
    write_atomic(settings.root_file, _root(plan, keys, authority, directory, now), PUBLIC_MODE)
    _begin_log(settings, is_signed=not plan.board)
    return settings


def _root(plan: Plan, keys: Keys, authority: Authority, directory: Path, now: datetime) -> bytes:
    """The founding root: signed by the one key of a board that is made here, or not yet."""
    members, threshold, private = plan.board, plan.threshold, None
    if not members:
        private = Ed25519PrivateKey.generate()
        members, threshold = (BoardMember("founder", SshKey.of(private)),), 1
        write_atomic(directory / BOARD_KEY_NAME, _pem(private))
    issued_s = int(now.timestamp())
    root = Root(
        origin=plan.origin,
        version=1,
        previous=b"",
        issued_s=issued_s,
        expires_s=issued_s + ROOT_SECONDS,
        threshold=threshold,
        board=members,
        log_keys=(LogKey(keys.log.verifier()),),
        anchors=(),
        freshness_keys=(keys.freshness.verifier(),),
        authorities=(authority_digest(authority.identity.certificate),),
        policies=Policies(),
    )
    text = SignedText(root.text())
    if private is not None:
        signature = sshsig.sign(private, root.text().encode(), NAMESPACE)
        text = text.with_signature(members[0], signature)
    return text.encode()


def _pem(private: Ed25519PrivateKey) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _begin_log(settings: PrimarySettings, *, is_signed: bool) -> None:
    settings.data_dir.mkdir(mode=DIRECTORY_MODE)
    store = Store(settings.store_url)
    try:
        store.migrate()
        if not is_signed:
            return
        signer = load_keys(settings).log
        checkpoint_file = CheckpointFile(settings.checkpoint_file)
        policy = Policy(lab=settings.lab)
        sequencer = open_sequencer(store, signer, checkpoint_file, policy, clock_ms)
        try:
            begin_board(sequencer, signer)
        finally:
            sequencer.close()
    finally:
        store.close()


def _settings_mode(plan: Plan) -> int:
    # A database's URL may hold its password.
    return PRIVATE_MODE if plan.store else PUBLIC_MODE


def _settings(plan: Plan) -> list[Table]:
    values: list[tuple[str, Value]] = [
        ("origin", plan.origin),
    ]
    if plan.store:
        values.append(("store", plan.store))
    if plan.lab:
        values.append(("lab", True))
    return [
        Table(
            "",
            (
                "A primary of the SMTP registry; docs/operations.md explains every setting.",
                "Relative paths count from the directory of this file.",
                "origin is the log's name for ever; nodes pin root.note, which the board signed.",
            ),
            values,
        ),
        Table("public", ("Registration, for anyone, over TLS.",), _listen(plan.public)),
        Table("nodes", ("The log's stream, for enrolled nodes.",), _listen(plan.nodes)),
        Table("log", ("The log for anyone's tools, over plain HTTP.",), _listen(plan.log)),
        Table("http", ("Metrics and health, without TLS: keep it private.",), _listen(plan.http)),
    ]


def _listen(endpoint: Endpoint) -> list[tuple[str, Value]]:
    return [("listen", str(endpoint))]
