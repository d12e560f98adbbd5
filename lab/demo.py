"""The demo: a whole cluster on loopback, its main job, and what happens when parts die.

python -m lab.demo              narrates, and stays up until Ctrl-C
python -m lab.demo --oneshot    the same, each step checked; ends with 0 only if all held
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from lab.asking import dns_name
from lab.cluster import DNS_PORT, WHOIS_PORT, ZONE, Cluster, Secondary, token_in
from lab.people import write_import_file
from lab.process import LabError, program

IMPORTED = 3000
SHOWN_LINES = 14
COMMAND_SECONDS = 120.0
VISIBLE_SECONDS = 60.0
BY_HAND = "192.0.2.36"
AFTER_RESTART = "192.0.2.37"
WHILE_ETCD_DIED = "192.0.2.38"


class Demo:
    """One run of the demo: says what it does, does it, and checks that it held."""

    def __init__(self, cluster: Cluster, console: Console) -> None:
        self.cluster = cluster
        self.console = console

    def run(self) -> None:
        """All steps, in order; LabError at the first that did not hold."""
        self.start()
        self.import_file()
        self.register_by_hand()
        self.kill_the_primary()
        self.bring_it_back()
        self.kill_an_etcd()

    def start(self) -> None:
        """Founds the registry, lets the secondaries join, and starts them all."""
        self.title("A primary and three secondaries, each with an etcd of its own")
        cluster = self.cluster
        cluster.found()
        self.say(f"keys, certificates and settings are in {cluster.root}")
        cluster.start_primary()
        self.say(f"primary: registration on {cluster.public} (gRPC, TLS)")
        self.say(f"its page: {cluster.page} (for your browser)")
        newcomer, *others = cluster.secondaries
        self.join(newcomer)
        for secondary in others:
            cluster.join(secondary)
        self.say(f"{' and '.join(each.name for each in others)} join in the same way")
        cluster.start_secondaries()
        for secondary in cluster.secondaries:
            self.say(
                f"{secondary.name}: DNS on {secondary.address}:{DNS_PORT}, "
                f"WHOIS on {secondary.address}:{WHOIS_PORT}"
            )
        self.say("to type the commands below yourself, in another terminal:")
        variables = " ".join(f"{name}={value}" for name, value in cluster.cli_env.items())
        self.say(f"  export PATH={Path(sys.executable).parent}:$PATH {variables}")

    def join(self, secondary: Secondary) -> None:
        """A secondary joins with a token of its own; it makes its keys itself."""
        said = self.command(self.cluster.token_command(secondary))
        self.command(self.cluster.join_command(secondary, token_in(said)))

    def import_file(self) -> None:
        """A holder imports a file, and the last row is seen everywhere."""
        self.title(f"A file of {IMPORTED:,} mail servers is imported")
        rows = self.cluster.root / "servers.csv"
        addresses = write_import_file(rows, IMPORTED)
        self.command(
            [
                *("smtpnic", "holder", "create", "--name=Example Mail"),
                *("--email=postmaster@example.org", "--telephone=+12025550123"),
                *(
                    "--postal-address=1 Example Street, Exampleton",
                    "--public=name",
                    "--public=email",
                ),
            ]
        )
        self.command(["smtpnic", "import", str(rows)])
        self.everywhere(addresses[-1])
        self.command(["smtpnic", "status"])

    def register_by_hand(self) -> None:
        """One address more, asked for before and after, over DNS and WHOIS."""
        self.title("One mail server is registered by hand")
        self.everywhere(BY_HAND, "NXDOMAIN")
        self.register(BY_HAND)
        for secondary in self.cluster.secondaries:
            self.dig(secondary, BY_HAND)
            self.command(
                ["whois", "-h", secondary.address, "-p", str(WHOIS_PORT), BY_HAND], lines=6
            )

    def kill_the_primary(self) -> None:
        """Without the primary every lookup and a proof go on."""
        self.title("The primary is killed; every lookup goes on")
        self.cluster.primary.kill()
        self.say(f"kill -9 {self.cluster.primary.pid}")
        for secondary in self.cluster.secondaries:
            self.dig(secondary, BY_HAND)
        self.everywhere(BY_HAND)
        self.everywhere("192.0.2.99", "NXDOMAIN")
        mirror = self.cluster.secondaries[0].mirror
        self.command(["smtpnic", "verify", BY_HAND, f"--mirror={mirror}"])

    def bring_it_back(self) -> None:
        """The primary is started again, and takes a registration that is seen everywhere."""
        self.title("The primary comes back; the stream goes on where it was")
        self.cluster.start_primary()
        self.register(AFTER_RESTART)

    def kill_an_etcd(self) -> None:
        """A secondary answers without its etcd, and follows again once that is back."""
        victim = self.cluster.secondaries[1]
        self.title(f"The etcd of {victim.name} is killed; its DNS goes on from memory")
        pid = victim.etcd_pid()
        os.kill(pid, signal.SIGKILL)
        self.say(f"kill -9 {pid}")
        self.expect(victim.ask_dns(BY_HAND) == "registered", "DNS answers without etcd")
        self.dig(victim, BY_HAND)
        self.say("its supervisor starts etcd again, and changes flow:")
        self.register(WHILE_ETCD_DIED)
        self.command(["smtpnic", "status"])

    def register(self, address: str) -> None:
        """Registers one address by hand; the command times it until every secondary answers."""
        host = f"mail{address.rpartition('.')[2]}.example.org"
        options = [f"--host={host}", "--domain=example.org", "--wait"]
        self.command(["smtpnic", "register", address, *options])
        self.everywhere(address)

    def everywhere(self, address: str, answer: str = "registered") -> None:
        """Waits until every secondary gives the answer, and says so."""
        deadline = time.monotonic() + VISIBLE_SECONDS
        while not self.cluster.visible_everywhere(address, answer):
            self.expect(time.monotonic() < deadline, f"{address} is {answer} at every secondary")
        self.say(f"{address} is {answer} at every secondary")

    def dig(self, secondary: Secondary, address: str) -> None:
        """Asks a secondary for a registered address with dig; LabError if it does not answer it."""
        name = dns_name(address, ZONE)
        server = [f"@{secondary.address}", "-p", str(DNS_PORT)]
        # Options before the first name hold for both.
        shown = self.command(["dig", "+noall", "+answer", *server, name, "A", name, "TXT"])
        self.expect(address in shown, f"{secondary.name} answers {name}")

    def command(self, command: Sequence[str], lines: int = SHOWN_LINES) -> str:
        """Shows a command as a person would type it, runs it, shows what it printed."""
        shown = shlex.join([Path(command[0]).name, *command[1:]])
        self.console.print(f"  [bold]$ {shown}[/bold]", soft_wrap=True)
        name = Path(command[0]).name
        path = [program(name) if name.startswith("smtpnic") else command[0]]
        done = subprocess.run(
            [*path, *command[1:]],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
            env=os.environ | self.cluster.cli_env,
            check=False,
        )
        printed = done.stdout.rstrip().splitlines()
        for line in printed[:lines]:
            self.console.print(f"    {line}", markup=False, highlight=False, soft_wrap=True)
        if len(printed) > lines:
            self.console.print(f"    ... {len(printed) - lines} more lines")
        self.expect(done.returncode == 0, f"{command[0]} ends with 0 (it was {done.returncode})")
        return done.stdout

    def title(self, text: str) -> None:
        """Begins a step."""
        self.console.print()
        self.console.rule(f"[bold]{text}", align="left")

    def say(self, text: str) -> None:
        """One line of the narration."""
        self.console.print(f"  {text}", highlight=False, soft_wrap=True)

    def expect(self, held: bool, what: str) -> None:
        """LabError naming `what` unless it held."""
        if not held:
            raise LabError(f"did not hold: {what}")


def stay(console: Console, cluster: Cluster) -> None:
    """Leaves the cluster up until Ctrl-C."""
    console.print()
    console.print(f"The cluster stays up; its logs are in {cluster.root}. Ctrl-C ends it.")
    signal.sigwait({signal.SIGINT, signal.SIGTERM})


def attempt(console: Console, cluster: Cluster, then: Callable[[], None]) -> int:
    """Runs the demo and `then`; the exit code."""
    try:
        with cluster:
            Demo(cluster, console).run()
            then()
    except LabError as error:
        console.print(f"[red]{error}[/red]", highlight=False)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def main() -> int:
    """Runs the demo as the arguments ask; the exit code."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__.splitlines()[0])
    parser.add_argument("--oneshot", action="store_true", help="check each step, then end")
    oneshot = parser.parse_args().oneshot
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 100)
    with tempfile.TemporaryDirectory(prefix="smtpnic-demo-") as directory:
        cluster = Cluster(Path(directory), page=True)
        code = attempt(
            console, cluster, (lambda: None) if oneshot else lambda: stay(console, cluster)
        )
    if oneshot and code == 0:
        console.print()
        console.print("[green]Every step held; everything is shut down.[/green]")
    return code


if __name__ == "__main__":
    sys.exit(main())
