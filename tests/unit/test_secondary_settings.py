"""What a secondary is told, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from secondary.roots import Roots
from secondary.settings import Role, SecondarySettings
from tests.support.boards import ALICE, first_root, next_root, sign_root

MINIMAL = """
name = "b"
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
    assert settings.root_file == tmp_path / "root.note"
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


def test_a_wrong_root_is_refused(tmp_path: Path) -> None:
    """What is not a root that its board signed is noticed before anything runs."""
    settings = load(tmp_path)
    for content in (b"", first_root().text().encode(), sign_root(first_root(), ALICE)):
        settings.root_file.write_bytes(content)
        with pytest.raises(ConfigurationError, match="root_file"):
            Roots.load(settings)


def test_roots_that_were_verified_are_known_after_a_restart(tmp_path: Path) -> None:
    """They are kept in the data directory; what does not follow from the pinned one is ignored."""
    settings = load(tmp_path)
    settings.root_file.write_bytes(sign_root(first_root()))
    second = next_root(first_root())
    Roots.load(settings, keep=True).take([sign_root(second)])
    third = next_root(second)
    (settings.roots_dir / "00000003.root").write_bytes(sign_root(third, ALICE))
    assert Roots.load(settings).chain.current == second
