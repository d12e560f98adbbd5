"""A person registers with the command line: real processes, real names, real mail, real DNS."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dns.message
import dns.query
import pytest

from lab.asking import dns_name
from lab.cluster import ZONE, Cluster
from lab.process import program
from tests.support.internet import SMTP_PORT, Internet, Mailboxes, internet, token_in
from tests.support.wait import wait_until

CONTACT = [
    "--name=Ann Example",
    "--postal-address=1 Example Street, Exampleton",
    "--telephone=+1 202 555 0123",
    "--public=email",
]
SECONDS = 60


class World:
    """A registry that asks for proofs, and the people around it."""

    def __init__(self, root: Path, net: Internet) -> None:
        self.net = net
        self.boxes: Mailboxes = net.mailboxes()
        settings = {
            "REGISTERING__PROOFS": "true",
            "REGISTERING__RESOLVERS": json.dumps([str(server) for server in net.resolvers]),
            "REGISTERING__GREETING_PORT": str(SMTP_PORT),
            "REGISTERING__ROUND_SECONDS": "0.2",
            "MAIL__SERVER": str(self.boxes.endpoint),
            "MAIL__SECURITY": "none",
        }
        env = {f"SMTPNIC_PRIMARY_{name}": value for name, value in settings.items()}
        self.cluster = Cluster(root, secondaries=1, primary_env=env)
        self.cluster.prepare()

    def smtpnic(self, *arguments: str, code: int = 0) -> Any:
        """What a command says, as JSON; its exit code has to be this."""
        done = self._run("--json", *arguments)
        assert done.returncode == code, (done.stdout, done.stderr)
        return json.loads(done.stdout or done.stderr)

    def say(self, *arguments: str) -> str:
        """All that a person sees of a command."""
        done = self._run(*arguments)
        return done.stdout + done.stderr

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program("smtpnic"), *arguments],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=os.environ | self.cluster.cli_env,
            stdin=subprocess.DEVNULL,
            check=False,
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The primary and a secondary, at work."""
    with internet() as net:
        world = World(tmp_path_factory.mktemp("world"), net)
        with world.cluster as cluster:
            cluster.start_primary()
            cluster.start_secondaries()
            yield world


def verdicts(answer: Any) -> dict[str, str]:
    return {finding["condition"]: finding["verdict"] for finding in answer["findings"]}


def text_of(world: World, address: str) -> str:
    """What the secondary's TXT record says."""
    query = dns.message.make_query(dns_name(address, ZONE), "TXT")
    host, port = world.cluster.secondaries[0].dns
    reply = dns.query.udp(query, host, port=port, timeout=SECONDS)
    return " ".join(data.to_text() for rrset in reply.answer for data in rrset)


def test_a_person_registers_step_by_step(world: World) -> None:
    """The same command again and again, until nothing is left; DNS says so at once."""
    net, address = world.net, world.net.new_address()
    net.name(address, "mail.ann.example.org")
    mailbox = "ann@ann.example.org"
    register = ["register", address, *CONTACT, f"--email={mailbox}"]

    answer = world.smtpnic(*register, code=1)
    assert answer["domain"] == "ann.example.org"
    assert verdicts(answer) == {
        "ptr": "held",
        "forward": "held",
        "zone": "held",
        "domain": "failed",
        "address": "failed",
        "email": "failed",
    }
    net.let_in("ann.example.org", bytes.fromhex(answer["holder"]))
    token = ["--token", answer["address_token"]]
    assert world.smtpnic("prove", address, *token) == {"address": address, "proved": True}
    letter = world.boxes.wait_letter(mailbox)
    assert world.smtpnic("confirm", token_in(letter))["confirmed"]
    # No contact any more: the application has it.
    answer = world.smtpnic("register", address)
    assert answer["registered"]
    assert answer["checkpoint_verified"]

    secondary = world.cluster.secondaries[0]
    wait_until(
        lambda: secondary.ask_dns(address) == "registered", seconds=SECONDS, what="it is in DNS"
    )
    assert "status=new" in text_of(world, address)
    assert "host=mail.ann.example.org" in text_of(world, address)
    # Again: nothing changes.
    assert world.smtpnic("register", address)["version"] == answer["version"]
    _update_move_and_withdraw(world, address)


def _update_move_and_withdraw(world: World, address: str) -> None:
    """With the key: another name is shown again; a move is a registration and a withdrawal."""
    net = world.net
    net.name(address, "mx.ann.example.org")
    answer = world.smtpnic("update", address, "--host=mx.ann.example.org", code=1)
    assert verdicts(answer) == {
        "ptr": "held",
        "forward": "held",
        "zone": "held",
        "domain": "held",
        "address": "failed",
    }
    net.greet(address, f"ESMTP {answer['address_token']}")
    assert world.smtpnic("update", address, "--host=mx.ann.example.org")["registered"]

    other = net.new_address()
    net.name(other, "mx2.ann.example.org")
    answer = world.smtpnic("register", other, code=1)
    world.smtpnic("prove", other, "--token", answer["address_token"])
    assert world.smtpnic("register", other, f"--instead-of={address}")["withdrawn"] == address
    assert world.smtpnic("show", other)["host"] == "mx2.ann.example.org"
    assert world.smtpnic("show", address, code=1)["error"]["code"] == "not_found"
    world.smtpnic("withdraw", other)


def test_many_addresses_are_one_file(world: World, tmp_path: Path) -> None:
    """A network shown by its reverse zone: its rows are registered, by one key, in one go."""
    net, domain, file = world.net, "bulk.example.org", tmp_path / "servers.csv"
    holder = ["--holder", str(tmp_path / "bulk.key")]
    first, *others = [net.new_address() for _ in range(12)]
    for number, address in enumerate((first, *others)):
        net.name(address, f"mail{number}.{domain}")
    file.write_text("address,host,domain\n" + "".join(f"{one},,\n" for one in others))
    contact = [*CONTACT, f"--email=ann@{domain}"]
    answer = world.smtpnic("register", first, *contact, *holder, code=1)

    error = world.smtpnic("import", str(file), *holder, code=2)["error"]
    assert "register the first with its contact" in error["message"]
    net.let_in(domain, bytes.fromhex(answer["holder"]))
    net.let_in_network(first, bytes.fromhex(answer["holder"]))
    try:
        world.smtpnic("register", first, *holder, code=1)
        letter = world.boxes.wait_letter(f"ann@{domain}")
        world.smtpnic("confirm", token_in(letter))
        world.smtpnic("register", first, *holder)
        # One of the names leads elsewhere; another address is nobody's mail server.
        net.put(f"mail1.{domain}", "A", net.new_address())
        with file.open("a") as lines:
            lines.write(f"{net.new_address()},,\n{first},,\n")

        counts = world.smtpnic("import", str(file), *holder, code=1)

        assert counts["registered"] == len(others) - 1
        assert (counts["unchanged"], counts["refused"]) == (1, 2)
        report = Path(counts["report"]).read_text()
        assert "not_shown" in report
        assert "forward: " in report
        assert "has no PTR record" in report
        net.name(others[0], f"mail1.{domain}")
        mended = world.smtpnic("import", counts["report"], *holder, code=1)
        assert (mended["registered"], mended["refused"]) == (1, 1)
    finally:
        net.let_in_network(first, bytes(16))
    assert len(world.smtpnic("list", "--mine", *holder)["registrations"]) == len(others) + 1
    _other_names_by_file(world, holder, others[0], file)


def _other_names_by_file(world: World, holder: list[str], address: str, file: Path) -> None:
    """Rows change names only when they may; and names are shown again."""
    world.net.name(address, "mx.bulk.example.org")
    file.write_text(f"address,host,domain\n{address},mx.bulk.example.org,bulk.example.org\n")
    assert world.smtpnic("import", str(file), *holder, code=1)["refused"] == 1
    assert ",exists," in (file.parent / f"{file.name}.refused.csv").read_text()
    assert world.smtpnic("import", str(file), "--update", *holder, code=1)["refused"] == 1
    assert "address: " in (file.parent / f"{file.name}.refused.csv").read_text()
    world.net.let_in_network(address, bytes.fromhex(world.smtpnic("show", address)["holder"]))
    try:
        assert world.smtpnic("import", str(file), "--update", *holder)["updated"] == 1
    finally:
        world.net.let_in_network(address, bytes(16))
    assert world.smtpnic("show", address)["host"] == "mx.bulk.example.org"


def test_a_key_is_shown_once_and_a_lost_one_recovered(world: World, tmp_path: Path) -> None:
    """A new one by a record and a letter; the old one opens nothing, nor shows the registry any."""
    net, address, domain = world.net, world.net.new_address(), "rae.example.org"
    net.name(address, f"mail.{domain}")
    old, new = (["--holder", str(tmp_path / name)] for name in ("old.key", "new.key"))
    contact = [*CONTACT, f"--email=rae@{domain}", *old]
    shown = world.say("register", address, *contact)
    key = json.loads(Path(old[1]).read_text())
    assert shown.count(key["management_key"]) == 1
    # Once: not when the same command goes on, nor in the file for others.
    assert key["management_key"] not in world.say("register", address, *contact)
    assert Path(old[1]).stat().st_mode & 0o077 == 0
    answer = world.smtpnic("register", address, *old, code=1)
    net.let_in(domain, bytes.fromhex(answer["holder"]))
    world.smtpnic("prove", address, "--token", answer["address_token"])
    world.smtpnic("confirm", token_in(world.boxes.wait_letter(f"rae@{domain}")))
    assert world.smtpnic("register", address, *old)["registered"]

    recover = ["holder", "recover", answer["holder"], domain, *new]
    asked = world.smtpnic(*recover, code=1)["findings"]
    assert {one["condition"]: one["verdict"] for one in asked}["domain"] == "failed"
    record = asked[0]["expected"].partition(" TXT ")[2]
    net.put(f"_smtpnic.{domain}", "TXT", record)
    world.smtpnic(*recover, code=1)
    letter = world.boxes.wait_letter(f"rae@{domain}", "another management key")
    world.smtpnic("confirm", token_in(letter))
    assert world.smtpnic(*recover)["granted"]
    world.boxes.wait_letter(f"rae@{domain}", "your management key was replaced")
    refused = world.smtpnic("withdraw", address, *old, code=3)["error"]
    assert refused["code"] == "not_yours"
    world.smtpnic("withdraw", address, *new)


def test_a_contact_is_private_until_its_holder_shows_it(world: World, tmp_path: Path) -> None:
    """Field by field; and another mailbox has to be confirmed first."""
    net, address, domain = world.net, world.net.new_address(), "priv.example.org"
    net.name(address, f"mail.{domain}")
    holder = ["--holder", str(tmp_path / "priv.key")]
    # This registry forwards no mail, so that one way has to be public.
    everything = [one for one in CONTACT if not one.startswith("--public")]
    hidden = [*everything, f"--email=ann@{domain}", *holder]
    refused = world.smtpnic("register", address, *hidden, code=3)["error"]
    assert "one way to reach you" in refused["message"]
    answer = world.smtpnic("register", address, *hidden, "--public=telephone", code=1)
    net.let_in(domain, bytes.fromhex(answer["holder"]))
    world.smtpnic("prove", address, "--token", answer["address_token"])
    world.smtpnic("confirm", token_in(world.boxes.wait_letter(f"ann@{domain}")))
    world.smtpnic("register", address, *holder)
    found = world.smtpnic("holder", "show", *holder)
    assert sorted(found["private"]) == ["email", "name", "postal-address"]

    other = [*everything, f"--email=new@{domain}", "--public=email", *holder]
    asked = world.smtpnic("holder", "update", *other, code=1)
    assert [one["condition"] for one in asked["findings"]] == ["email"]
    assert sorted(world.smtpnic("holder", "show", *holder)["private"]) == sorted(found["private"])
    world.smtpnic("confirm", token_in(world.boxes.wait_letter(f"new@{domain}")))
    assert world.smtpnic("holder", "update", *other)["granted"]
    assert sorted(world.smtpnic("holder", "show", *holder)["private"]) == ["name", "postal-address"]


def test_nothing_is_had_without_proofs(world: World) -> None:
    """Not over the public listener."""
    arguments = [*CONTACT, "--email=eve@example.net", "--holder", str(world.cluster.root / "eve")]
    error = world.smtpnic("holder", "create", *arguments, code=3)["error"]
    assert error["code"] == "proof_required"


def test_a_token_from_elsewhere_is_told_from_where(world: World) -> None:
    """A person who runs it on the wrong machine finds out."""
    wrong = ["--token", "smtpnic-abcdefghij234567abcd"]
    error = world.smtpnic("prove", "127.0.0.9", *wrong, code=1)["error"]
    assert "127.0.0.9" in error["message"]
    error = world.smtpnic("prove", "192.0.2.1", *wrong, code=4)["error"]
    assert "run this on the machine that has the address" in error["message"]
