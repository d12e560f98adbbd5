"""One primary and its secondaries, each a real process, on loopback addresses of their own.

Every cluster takes a random /24 of 127.0.0.0/8, so that several run side by side on the same
ports: the primary on .10, the secondaries on .11 and up.
"""

from __future__ import annotations

import secrets
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lab.asking import dns_answer, wait_for, whois_answer
from lab.process import LabError, LabProcess, program, run

ZONE = "smtpnic.org"
READY_SECONDS = 60.0
PUBLIC_PORT = 7441
NODES_PORT = 7442
MIRROR_PORT = 7443
PRIMARY_LOG_PORT = 7444
LOG_PORT = 7445
RELAY_PORT = 7446
WEB_PORT = 7447
PRIMARY_HTTP_PORT = 7440
FOLLOWER_HTTP_PORT = 7450
DNS_HTTP_PORT = 7451
WHOIS_HTTP_PORT = 7452
DNS_PORT = 5353
WHOIS_PORT = 4343
# Nobody's resolver has to notice before a secondary of the lab leaves, and all who ask are of one
# network.
SECONDARY_ENV = {
    "SMTPNIC_SECONDARY_DRAIN_SECONDS": "0.2",
    "SMTPNIC_SECONDARY_DNS__POSITIVE_LIMIT": "0",
    "SMTPNIC_SECONDARY_DNS__NEGATIVE_LIMIT": "0",
    "SMTPNIC_SECONDARY_DNS__ERROR_LIMIT": "0",
    "SMTPNIC_SECONDARY_WHOIS__PER_SECOND": "0",
}


def loopback_network() -> str:
    """The first three octets of a random loopback /24."""
    return f"127.{1 + secrets.randbelow(254)}.{secrets.randbelow(256)}"


def ready(address: str, port: int) -> bool:
    """Whether the process behind this monitoring listener says that it is ready."""
    try:
        with urllib.request.urlopen(f"http://{address}:{port}/readyz", timeout=1) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def token_in(text: str) -> str:
    """The join token in what `token create` printed."""
    (token,) = [word for word in text.split() if word.startswith("smtpnicjoin")]
    return token


@dataclass(frozen=True)
class Secondary:
    """A secondary of the cluster: where it listens, and its supervisor process."""

    name: str
    address: str
    directory: Path
    process: LabProcess

    @property
    def dns(self) -> tuple[str, int]:
        """Where it answers DNS, over UDP and TCP."""
        return self.address, DNS_PORT

    @property
    def whois(self) -> tuple[str, int]:
        """Where it answers WHOIS."""
        return self.address, WHOIS_PORT

    @property
    def mirror(self) -> str:
        """Where it gives proofs and its status: host:port."""
        return f"{self.address}:{MIRROR_PORT}"

    @property
    def settings_file(self) -> Path:
        """The settings that `enroll` wrote for it."""
        return self.directory / "secondary.toml"

    def ask_dns(self, address: str) -> str:
        """See `lab.asking.dns_answer`."""
        return dns_answer(self.dns, address, ZONE)

    def ask_whois(self, question: str) -> str:
        """See `lab.asking.whois_answer`."""
        return whois_answer(self.whois, question)

    def ready(self) -> bool:
        """Whether its DNS server has a verified table."""
        return ready(self.address, DNS_HTTP_PORT)

    def etcd_pid(self) -> int:
        """Process id of its etcd; LabError if none runs."""
        return self._child(lambda arguments: Path(arguments[0]).name == "etcd", "etcd")

    def role_pid(self, role: str) -> int:
        """Process id of one of its role processes; LabError if it does not run."""
        return self._child(lambda arguments: role in arguments, role)

    def _child(self, matches: Callable[[list[str]], bool], what: str) -> int:
        """The child of the supervisor whose command line matches."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for pid in children.read_text().split():
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            if matches(arguments):
                return int(pid)
        raise LabError(f"{self.name} runs no {what}")


class Cluster:
    """A primary and `secondaries` secondaries under one directory; a context manager that ends all.

    Addresses register that no mail server on the Internet has, such as documentation ones.
    """

    def __init__(
        self,
        root: Path,
        secondaries: int = 3,
        *,
        primary_env: Mapping[str, str] | None = None,
        secondary_env: Mapping[str, str] | None = None,
        network: str = "",
        page: bool = False,
    ) -> None:
        """At a loopback network of its own, unless the first three octets of another are given.

        `page`: the primary shows its page for people, without TLS.
        """
        self.root = root
        self.network = network or loopback_network()
        self.primary_address = f"{self.network}.10"
        self.primary_dir = root / "primary"
        self.primary_env = dict(primary_env or {})
        if page:
            listen = f"{self.primary_address}:{WEB_PORT}"
            self.primary_env["SMTPNIC_PRIMARY_WEB__LISTEN"] = listen
            self.primary_env["SMTPNIC_PRIMARY_WEB__URL"] = self.page
        self.primary = LabProcess(
            "primary",
            [program("smtpnic-primary"), "run", "-c", str(self.primary_dir / "primary.toml")],
            root / "primary.log",
            self.primary_env,
        )
        self.secondaries = [
            self._secondary(number, SECONDARY_ENV | dict(secondary_env or {}))
            for number in range(secondaries)
        ]

    def _secondary(self, number: int, env: Mapping[str, str]) -> Secondary:
        name = f"mirror-{number + 1}"
        directory = self.root / name
        command = [program("smtpnic-secondary"), "run", "-c", str(directory / "secondary.toml")]
        process = LabProcess(name, command, self.root / f"{name}.log", env)
        return Secondary(name, f"{self.network}.{11 + number}", directory, process)

    @property
    def public(self) -> str:
        """Where registration listens."""
        return f"{self.primary_address}:{PUBLIC_PORT}"

    @property
    def page(self) -> str:
        """Where the primary's page is, if it shows one."""
        return f"http://{self.primary_address}:{WEB_PORT}"

    @property
    def ca(self) -> Path:
        """The authority that signed every certificate of the cluster."""
        return self.primary_dir / "ca.pem"

    @property
    def cli_env(self) -> dict[str, str]:
        """Environment in which the `smtpnic` command knows this cluster, and only it."""
        return {"XDG_CONFIG_HOME": str(self.root / "config")}

    def write_cli_config(self) -> None:
        """Writes the settings of the `smtpnic` command."""
        file = self.root / "config" / "smtpnic" / "config.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            f'primary = "{self.public}"',
            f'ca = "{self.ca}"',
            f'root = "{self.primary_dir / "root.note"}"',
            f"mirrors = {[s.mirror for s in self.secondaries]}",
            f"dns_servers = {[f'{s.address}:{DNS_PORT}' for s in self.secondaries]}",
        ]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def init_command(self) -> list[str]:
        """The command that founds the registry."""
        return [
            program("smtpnic-primary"),
            "init",
            str(self.primary_dir),
            f"--origin={ZONE}",
            f"--address={self.primary_address}",
            f"--public={self.primary_address}:{PUBLIC_PORT}",
            f"--nodes={self.primary_address}:{NODES_PORT}",
            f"--log={self.primary_address}:{PRIMARY_LOG_PORT}",
            f"--http={self.primary_address}:{PRIMARY_HTTP_PORT}",
            "--lab",
        ]

    def enroll_command(self, secondary: Secondary) -> list[str]:
        """The command that enrols a secondary; it needs the primary's directory."""
        return [
            program("smtpnic-primary"),
            "enroll",
            secondary.name,
            f"--address={secondary.address}",
            f"--out={secondary.directory}",
            f"--config={self.primary_dir / 'primary.toml'}",
        ]

    def token_command(self, secondary: Secondary) -> list[str]:
        """The command that makes a token for a secondary; it needs the primary's directory."""
        return [
            *(program("smtpnic-primary"), "token", "create", f"--name={secondary.name}"),
            f"--address={secondary.address}",
            f"--config={self.primary_dir / 'primary.toml'}",
        ]

    def join_command(self, secondary: Secondary, token: str) -> list[str]:
        """The command with which a secondary joins; it needs the running primary."""
        return [program("smtpnic-secondary"), "join", token, str(secondary.directory)]

    def join(self, secondary: Secondary) -> None:
        """Lets a secondary join with a token; the primary has to run."""
        run(self.join_command(secondary, token_in(run(self.token_command(secondary)))))

    def found(self) -> None:
        """Makes keys, certificates and settings of the primary."""
        self.root.mkdir(parents=True, exist_ok=True)
        run(self.init_command())
        self.write_cli_config()

    def prepare(self) -> None:
        """Makes those of every node; the secondaries' by hand, so that nothing has to run."""
        self.found()
        for secondary in self.secondaries:
            run(self.enroll_command(secondary))

    def start_primary(self, extra_env: Mapping[str, str] | None = None) -> None:
        """Starts the primary and waits until it takes registrations."""
        self.primary.start(extra_env)
        self.wait_primary()

    def wait_primary(self) -> None:
        """Waits until it takes registrations; LabError if it ends, or is not ready in time."""
        self._wait(self.primary, lambda: ready(self.primary_address, PRIMARY_HTTP_PORT))

    def start_secondaries(self) -> None:
        """Starts every secondary, and waits until each has a verified table."""
        for secondary in self.secondaries:
            secondary.process.start()
        for secondary in self.secondaries:
            self.wait_secondary(secondary)

    def wait_secondary(self, secondary: Secondary) -> None:
        """Waits until it has a verified table; LabError if it ends, or is not ready in time."""
        self._wait(secondary.process, secondary.ready)

    def stop(self) -> None:
        """Ends every process, gracefully where it can."""
        for process in [*(s.process for s in self.secondaries), self.primary]:
            if process.running:
                process.stop()

    def visible_everywhere(self, address: str, answer: str = "registered") -> bool:
        """Whether every secondary gives this answer for the address now."""
        return all(secondary.ask_dns(address) == answer for secondary in self.secondaries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait(self, process: LabProcess, is_ready: Callable[[], bool]) -> None:
        def settled() -> bool:
            return is_ready() or not process.running

        wait_for(settled, READY_SECONDS, f"{process.name} ready")
        if not process.running:
            raise LabError(f"{process.name} ended with {process.wait()}\n{process.tail()}")
