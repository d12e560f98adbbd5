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
        done = subprocess.run(
            [program("smtpnic"), "--json", *arguments],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            env=os.environ | self.cluster.cli_env,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == code, (done.stdout, done.stderr)
        return json.loads(done.stdout or done.stderr)


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


def test_nothing_is_had_without_proofs(world: World) -> None:
    """Not over the public listener, one by one or in bulk; the owner's socket is trusted."""
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
