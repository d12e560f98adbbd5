"""100 people who register at once over the page, each step of it, while the stream flows.

    python -m bench.registering

Each has a browser's cookie of its own and goes all the way: the form, the proofs, the letter, done.
Names, mail and mail servers are real ones of the lab. Beside them, before and meanwhile, somebody
registers one address after another, and waits each time until a secondary answers it in DNS.
"""

from __future__ import annotations

import asyncio
import os
import re
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import grpc
import httpx

from bench.processes import cpu_seconds
from bench.results import console, load_average, print_table, write_results
from tests.support.internet import SMTP_PORT, Internet, internet, token_in
from tests.support.registrant import Registrant, addresses
from tests.support.web_world import WebWorld

PEOPLE: Final = int(os.environ.get("PEOPLE", "100"))
QUIET_SECONDS: Final = 5.0
LIMIT_SECONDS: Final = 150.0
LOOK_SECONDS: Final = 0.5
DOMAIN: Final = "example.org"
_TOKEN: Final = re.compile(r'name="form_token" value="([0-9a-f]+)"')
_HOLDER: Final = re.compile(r"holder=([0-9a-f]{32})")
_PROOF: Final = re.compile(r"smtpnic-[a-z2-7]{20}")
# All people of this bench come from one address.
SETTINGS: Final = {
    "WEB__CONNECTIONS_PER_CLIENT": "500",
    "WEB__PAGES_PER_MINUTE": "1000000",
    "WEB__LOOKS_PER_MINUTE": "1000000",
    "WEB__CHANGES_PER_MINUTE": "1000000",
    "REGISTERING__PER_IPV4_24": "1000",
    "REGISTERING__PER_CLIENT": "1000",
    "REGISTERING__LETTERS": "1000",
}


@dataclass
class Stream:
    """Somebody who registers one after another; seconds until the secondary answered each."""

    world: WebWorld
    took: list[float] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Until `stopped`."""
        secondary = self.world.cluster.secondaries[0]
        socket = f"unix:{self.world.cluster.primary_dir}/run/admin.sock"
        with grpc.insecure_channel(socket) as channel:
            registrant = Registrant(channel)
            registrant.create_holder()
            for address in addresses():
                if self.stopped.is_set():
                    return
                started = time.perf_counter()
                registrant.register(address)
                while secondary.ask_dns(address) != "registered":
                    time.sleep(0.005)
                self.took.append(time.perf_counter() - started)


@dataclass
class People:
    """Who registers, and how long each page took."""

    world: WebWorld
    net: Internet
    greetings: dict[str, str] = field(default_factory=dict)
    pages: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)

    async def run(self, places: dict[str, str]) -> None:
        """All at once."""
        server = await asyncio.start_server(self._greet, list(places), SMTP_PORT)
        async with server, asyncio.timeout(LIMIT_SECONDS):
            await asyncio.gather(*(self._register(*place) for place in places.items()))

    async def _greet(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host = writer.get_extra_info("sockname")[0]
        writer.write(f"220 mail ESMTP {self.greetings.get(host, '')}\r\n".encode())
        await writer.drain()
        writer.close()

    async def _register(self, address: str, domain: str) -> None:
        mailbox, started = f"post@{domain}", time.perf_counter()
        async with httpx.AsyncClient(base_url=self.world.url, verify=False, timeout=60) as browser:
            form = {
                **{"address": address, "name": "Example", "email": mailbox, "public_email": "on"},
                **{"telephone": "+12025550123", "postal_address": "1 Street"},
            }
            await self._send(browser, "/register", form)
            checks = await self._get(browser, "/register/checks")
            holder, proof = _HOLDER.search(checks.text), _PROOF.search(checks.text)
            if holder is None or proof is None:
                raise RuntimeError(checks.text)
            self.greetings[address] = proof[0]
            await asyncio.to_thread(self.net.let_in, domain, bytes.fromhex(holder[1]))
            while not self.world.boxes.to(mailbox):
                await self._get(browser, "/register/checks")
                await asyncio.sleep(LOOK_SECONDS)
            path = f"/confirm/{token_in(self.world.boxes.to(mailbox)[-1])}"
            await self._send(browser, path, {})
            while (await self._get(browser, "/register/checks")).status_code != 303:
                await asyncio.sleep(LOOK_SECONDS)
        self.whole.append(time.perf_counter() - started)

    async def _get(self, browser: httpx.AsyncClient, path: str) -> httpx.Response:
        started = time.perf_counter()
        response = await browser.get(path)
        self.pages.append(time.perf_counter() - started)
        return response

    async def _send(self, browser: httpx.AsyncClient, path: str, form: dict[str, str]) -> None:
        token = _TOKEN.search((await self._get(browser, path)).text)
        if token is None:
            raise RuntimeError(f"{path} has no form")
        started = time.perf_counter()
        response = await browser.post(path, data={"form_token": token[1], **form})
        self.pages.append(time.perf_counter() - started)
        if response.status_code not in (200, 303):
            raise RuntimeError(response.text)


def quantile(values: list[float], share: float) -> float:
    """Milliseconds within which that share was done."""
    return sorted(values)[int(share * (len(values) - 1))] * 1000 if values else 0.0


def measure(net: Internet, directory: Path) -> None:
    """One world, one run."""
    load = load_average()
    world = WebWorld(directory, net, SETTINGS)
    with world.cluster as cluster:
        cluster.start_primary()
        cluster.start_secondaries()
        places = {net.new_address(): f"p{number}.{DOMAIN}" for number in range(PEOPLE)}
        for address, domain in places.items():
            net.name(address, f"mail.{domain}")
        stream = Stream(world)
        thread = threading.Thread(target=stream.run, daemon=True)
        thread.start()
        time.sleep(QUIET_SECONDS)
        quiet, people = list(stream.took), People(world, net)
        cpu = cpu_seconds(cluster.primary.pid)
        asyncio.run(people.run(places))
        cpu = round(cpu_seconds(cluster.primary.pid) - cpu, 1)
        busy = stream.took[len(quiet) :]
        stream.stopped.set()
        thread.join()
    rows = {
        "a page": people.pages,
        "all steps": people.whole,
        "stream, before": quiet,
        "stream, meanwhile": busy,
    }
    shown = {
        name: {
            "number": len(took),
            "p50_ms": round(quantile(took, 0.5), 1),
            "p99_ms": round(quantile(took, 0.99), 1),
        }
        for name, took in rows.items()
    }
    print_table(
        f"{PEOPLE} people register at once",
        ["what", "number", "p50, ms", "p99, ms"],
        [[name, *map(str, figures.values())] for name, figures in shown.items()],
    )
    console.print(f"the primary took {cpu} s of CPU meanwhile, load {load} before")
    figures = {"people": PEOPLE, "load_before": load, "primary_cpu_s": cpu, "figures": shown}
    path = write_results("registering", figures)
    console.print(f"written to {path}")


def main() -> None:
    """Runs it."""
    with tempfile.TemporaryDirectory() as directory, internet() as net:
        measure(net, Path(directory))


if __name__ == "__main__":
    main()
