"""Founds a registry: keys, authority, settings, an empty database and its first checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from node.endpoint import Endpoint
from node.files import PRIVATE_MODE, write_atomic
from primary.checkpoint_file import CheckpointFile
from primary.keys import Keys
from primary.opening import open_sequencer
from primary.pki import Authority, Names
from primary.rules import Policy
from primary.running import clock_ms
from primary.scaffold import DIRECTORY_MODE, PUBLIC_MODE, Table, Value, make_empty, toml
from primary.settings import PrimarySettings
from primary.store.store import Store

SETTINGS_NAME: Final = "primary.toml"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a new primary is to be: its log's name, its own names, where it listens.

    `store` is a database URL; empty: an SQLite file of its own. `lab` as in the settings.
    """

    origin: str
    names: Names
    public: Endpoint
    nodes: Endpoint
    http: Endpoint
    store: str
    lab: bool


def found(directory: Path, plan: Plan) -> PrimarySettings:
    """Makes the primary's directory, and the log's first batch, durably.

    ConfigurationError: the directory holds something already. Nothing that exists is changed.
    """
    make_empty(directory)
    now = datetime.now(UTC)
    keys = Keys.generate(plan.origin)
    authority = Authority.create(plan.origin, now)
    server = authority.issue_server(plan.names, now)
    settings_file = directory / SETTINGS_NAME
    write_atomic(settings_file, toml(_settings(plan, keys)), _settings_mode(plan))
    settings = PrimarySettings.load(settings_file)

    keys.save(settings.log_key_file, settings.freshness_key_file)
    write_atomic(settings.authority.key, authority.identity.key)
    write_atomic(settings.tls.ca, authority.identity.certificate, PUBLIC_MODE)
    write_atomic(settings.tls.key, server.key)
    write_atomic(settings.tls.certificate, server.certificate, PUBLIC_MODE)
    _begin_log(settings, keys)
    return settings


def _begin_log(settings: PrimarySettings, keys: Keys) -> None:
    settings.data_dir.mkdir(mode=DIRECTORY_MODE)
    store = Store(settings.store_url)
    try:
        store.migrate()
        checkpoint_file = CheckpointFile(settings.checkpoint_file)
        policy = Policy(lab=settings.lab)
        open_sequencer(store, keys.log, checkpoint_file, policy, clock_ms).close()
    finally:
        store.close()


def _settings_mode(plan: Plan) -> int:
    # A database's URL may hold its password.
    return PRIVATE_MODE if plan.store else PUBLIC_MODE


def _settings(plan: Plan, keys: Keys) -> list[Table]:
    values: list[tuple[str, Value]] = [
        ("origin", plan.origin),
        ("log_key", keys.log.verifier().vkey()),
        ("freshness_key", keys.freshness.verifier().vkey()),
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
                "origin is the log's name for ever; nodes pin both keys.",
            ),
            values,
        ),
        Table("public", ("Registration, for anyone, over TLS.",), _listen(plan.public)),
        Table("nodes", ("The log's stream, for enrolled nodes.",), _listen(plan.nodes)),
        Table("http", ("Metrics and health, without TLS: keep it private.",), _listen(plan.http)),
    ]


def _listen(endpoint: Endpoint) -> list[tuple[str, Value]]:
    return [("listen", str(endpoint))]
