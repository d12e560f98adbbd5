"""What a secondary is told, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from registry.note import Cosigner, Signer
from secondary.settings import Role, SecondarySettings

LOG_KEY = Signer.generate("smtpnic.example").verifier().vkey()
FRESHNESS_KEY = Cosigner.generate("smtpnic.example/freshness").verifier().vkey()
MINIMAL = f"""
name = "b"
log_key = "{LOG_KEY}"
freshness_key = "{FRESHNESS_KEY}"
upstream = "127.0.0.1:7442"
"""


def load(folder: Path, more: str = "") -> SecondarySettings:
    """The settings of a file in `folder`: the least there is, and `more`."""
    path = folder / "secondary.toml"
    path.write_text(MINIMAL + more)
    return SecondarySettings.load(path)


def test_the_least_there_is(tmp_path: Path) -> None:
    """Name, keys and upstream are enough: every role, and an etcd of its own."""
    settings = load(tmp_path)
    assert settings.upstream == Endpoint("127.0.0.1", 7442)
    assert settings.roles == (Role.FOLLOWER, Role.DNS, Role.WHOIS)
    assert settings.etcd_endpoints == (f"unix:{tmp_path}/data/etcd/client:1",)
    assert settings.tls.certificate == tmp_path / "node.pem"
    assert settings.verifier.name == "smtpnic.example"
    assert settings.etcd.tls is None


def test_an_etcd_cluster(tmp_path: Path) -> None:
    """Endpoints and TLS files of a cluster."""
    settings = load(
        tmp_path,
        """
        roles = ["dns"]
        [etcd]
        endpoints = ["etcd-0.etcd:2379", "[::1]:2379"]
        ca = "etcd-ca.pem"
        """,
    )
    assert settings.etcd_endpoints == ("etcd-0.etcd:2379", "[::1]:2379")
    assert settings.etcd.tls is not None
    assert settings.etcd.tls.ca == tmp_path / "etcd-ca.pem"
    assert settings.roles == (Role.DNS,)


def test_the_environment_stands_above_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list in the environment is JSON."""
    monkeypatch.setenv("SMTPNIC_SECONDARY_ETCD__ENDPOINTS", '["etcd:2379"]')
    monkeypatch.setenv("SMTPNIC_SECONDARY_ROLES", '["dns"]')
    settings = load(tmp_path)
    assert settings.etcd_endpoints == ("etcd:2379",)
    assert settings.roles == (Role.DNS,)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ('roles = ["cook"]', "roles"),
        ("roles = []", "roles"),
        ('[etcd]\nendpoints = ["http://etcd"]', "expected host:port"),
        ('[etcd]\nprefix = "smtpnic"', "expected a form such as /smtpnic"),
        ('[etcd]\ncertificate = "x"', "give both or none"),
        ('[etcd]\ncertificate = "x"\nkey = "x"', "needs ca"),
        ("[etcd]\nquota_bytes = 1", "quota_bytes"),
        (f'[etcd]\ndirectory = "{"x" * 110}"', "too long for a socket"),
        ("[mirror]\nlistens = 1", "no such setting"),
    ],
)
def test_refusals_name_the_setting(tmp_path: Path, more: str, expected: str) -> None:
    """A wrong value is refused with words that say where and why."""
    with pytest.raises(ConfigurationError, match=expected):
        load(tmp_path, more)


def test_a_wrong_key_is_refused(tmp_path: Path) -> None:
    """A freshness key in place of the log key is noticed before anything runs."""
    path = tmp_path / "secondary.toml"
    path.write_text(MINIMAL.replace(LOG_KEY, FRESHNESS_KEY))
    with pytest.raises(ConfigurationError, match="log_key: expected a vkey"):
        SecondarySettings.load(path)
