"""The image, built for real, and the whole registry run from it without any privilege."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.cluster import token_in
from tests.support.containers import ROOT, USER, Engine, Site
from tests.support.wait import wait_until

HOME = ROOT / "build" / "image"
ADDRESS = "198.18.0.36"
PRIMARY = "registry/primary.toml"
SECONDARY = "mirror/secondary.toml"
# Where each says that it is ready.
PORTS = {"primary": 7440, "follower": 7450, "dns": 7451, "whois": 7452}
ETCD = '--env=SMTPNIC_SECONDARY_ETCD__ENDPOINTS=["127.0.0.1:2379"]'
HOLDER = (
    *("--name=Example Mail", "--email=postmaster@example.org", "--telephone=+12025550123"),
    "--postal-address=1 Example Street, Exampleton",
)


@pytest.fixture(scope="module")
def engine() -> Engine:
    """Where images are kept between runs."""
    return Engine(HOME)


@pytest.fixture(scope="module")
def image(engine: Engine) -> str:
    """The project's image."""
    return engine.build_image(engine.build_base())


@pytest.fixture(scope="module")
def site(engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A primary, an etcd and the three roles of a secondary, a container each."""
    site = Site(engine, image, tmp_path_factory.mktemp("site") / "shared")
    try:
        _start(site, engine.build_etcd("localhost/base:test"))
        yield site
    finally:
        site.close()


def _start(site: Site, etcd: str) -> None:
    names = ("--name=localhost", "--address=127.0.0.1")
    site.command("smtpnic-primary", "init", "registry", "--origin=smtpnic.org", "--lab", *names)
    site.start("etcd", "/usr/bin/etcd", "--data-dir=/var/lib/smtpnic/etcd", image=etcd)
    site.start("primary", "smtpnic-primary", "run", "-c", PRIMARY)
    _wait_ready(site, "primary", PORTS["primary"])
    token = token_in(
        site.command(
            "smtpnic-primary", "token", "create", "--name=m1", "--address=127.0.0.1", "-c", PRIMARY
        )
    )
    site.command("smtpnic-secondary", "join", token, "mirror")
    for role in ("follower", "dns", "whois"):
        site.start(role, "smtpnic-secondary", role, "-c", SECONDARY, env=[ETCD])
    for role in ("follower", "dns", "whois"):
        _wait_ready(site, role, PORTS[role])


def _wait_ready(site: Site, name: str, port: int) -> None:
    def is_ready() -> bool:
        asked = ("curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}")
        command = ("nsenter", f"--net=/proc/{site.pid('pause')}/ns/net", *asked)
        url = f"http://127.0.0.1:{port}/readyz"
        done = subprocess.run([*command, url], capture_output=True, check=False)
        return done.stdout == b"200"

    try:
        wait_until(is_ready, seconds=60, what=f"{name} is ready", poll_seconds=0.2)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{site.logs(name)[-3000:]}") from error


def test_what_is_registered_is_in_dns(site: Site) -> None:
    """From a registration over gRPC to an answer of the DNS container, through etcd's."""
    env = ["--env=XDG_CONFIG_HOME=/var/lib/smtpnic/config"]
    config = site.shared / "config" / "smtpnic" / "config.toml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(
        'primary = "127.0.0.1:7441"\nca = "/var/lib/smtpnic/registry/ca.pem"\n'
        'root = "/var/lib/smtpnic/registry/root.note"\n'
    )
    _give(site.shared / "config")
    site.command("smtpnic", "holder", "create", *HOLDER, env=env)
    host = ("--host=mail.example.org", "--domain=example.org")
    site.command("smtpnic", "register", ADDRESS, *host, env=env)
    name = f"{ADDRESS.replace('.', '-')}.smtpnic.org"
    dig = ("dig", "+short", "+tries=1", "-p", "5353", "@127.0.0.1")
    answer = wait_until(
        lambda: site.inside(*dig, name), seconds=20, what="DNS knows it", poll_seconds=0.1
    )
    assert answer.strip() == ADDRESS
    assert site.inside(*dig, "+tcp", name).strip() == ADDRESS


def _give(path: Path) -> None:
    subprocess.run(["chown", "--recursive", f"{USER}:{USER}", path], check=True)


def test_no_container_has_a_privilege(site: Site) -> None:
    """Each runs as its own user, without capabilities, on a root that it cannot write to."""
    for name in ("primary", "follower", "dns", "whois"):
        status = Path(f"/proc/{site.pid(name)}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert fields["Uid"].split() == [str(USER)] * 4
        assert {fields["CapEff"], fields["CapPrm"], fields["CapBnd"]} == {"0" * 16}
        assert fields["NoNewPrivs"] == "1"
    with pytest.raises(AssertionError, match="Read-only file system"):
        site.command("touch", "/opt/smtpnic/x")


def test_dns_is_answered_by_the_compiled_module(site: Site) -> None:
    """The image has it, and the DNS container says that it runs it."""
    assert "compiled" in site.logs("dns")


def test_the_image_says_what_it_is_made_of(engine: Engine, image: str, site: Site) -> None:
    """Labels tell version and revision; the bill of materials has both kinds of packages."""
    labels = engine.describe(image)
    assert labels["org.opencontainers.image.title"] == "smtp-registry"
    assert labels["org.opencontainers.image.revision"]
    document = json.loads(site.command("cat", "/opt/smtpnic/sbom.cdx.json"))
    names = {component["name"] for component in document["components"]}
    assert {"grpcio", "protobuf", "dnslib", "etcd3", "libssl3", "python3"} <= names


def test_two_builds_are_one_image(engine: Engine, image: str) -> None:
    """Built anew from the same commit and base, each layer has the same bytes, times included."""
    again = engine.build_image("localhost/base:test", anew=True)
    files, others = engine.files(image), engine.files(again)
    assert set() == {path for path in files | others if files.get(path) != others.get(path)}
    assert engine.layers(image) == engine.layers(again)


def test_a_container_that_is_stopped_drains_and_ends_with_0(site: Site) -> None:
    """SIGTERM is enough for every role; nobody has to be killed, and each goes on when it is
    started again."""
    for name in ("whois", "dns", "follower", "primary"):
        assert site.stop(name) == 0, site.logs(name)[-2000:]
    for name, port in PORTS.items():
        site.start_again(name)
        _wait_ready(site, name, port)
