"""The pages over a bureau, without a network in front of them."""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Iterable, Mapping
from http.cookiejar import Cookie
from typing import Any

import httpx
from cryptography.fernet import Fernet

from node.feed import Feed, FeedLimits
from node.resolving import Resolvers
from node.tile_files import TileFiles
from node.workers import Workers
from primary.desk.complaints import Complaints
from primary.public_log import PublicLog
from primary.registering.asking import check_direct
from primary.registering.relaying import RelayLimits
from primary.tile_keeper import TileKeeper
from primary.web.allowance import Allowance, Effort
from primary.web.application import make_app
from primary.web.catalogue import Catalogue
from primary.web.proving import Prover
from primary.web.site import Parts
from primary.web.visit import Visits
from tests.support.bureau import Bureau

URL = "https://smtpnic.example"
# Who asks; whom it names in X-Forwarded-For is believed.
PROXY = "192.0.2.99"
PLENTY = dict.fromkeys(Effort, 1_000_000)


class Pages:
    """A visitor of the pages over a bureau's log."""

    def __init__(
        self,
        bureau: Bureau,
        per_minute: Mapping[Effort, int] = PLENTY,
        resolvers: Resolvers | None = None,
    ) -> None:
        """`resolvers`: those by which names are looked up; else those of the bureau."""
        self.bureau = bureau
        log = bureau.log
        reader, head = log.store.reader, log.sequencer.head
        self._pool = Workers("read", 2)
        self.tiles = TileKeeper(TileFiles(log.directory / "tiles"), reader.leaf_hashes, self._pool)
        limits = RelayLimits(per_client=3, per_holder=5)
        parts = Parts(
            "smtpnic.example",
            URL,
            bureau.desk,
            bureau.intake,
            check_direct,
            PublicLog(head, Feed(head.size, FeedLimits(1, 1, 1, 1))),
            Catalogue(
                reader,
                self._pool,
                bureau.book,
                bureau.clerk,
                resolvers or bureau.looker.resolvers,
            ),
            Prover(bureau.intake, reader, self.tiles, self._pool),
            lambda: log.log_signer().chain,
            Complaints(
                bureau.book,
                bureau.clerk,
                bureau.writer,
                limits=limits,
                board="board@example.net",
                clock=bureau.now,
            ),
            Visits(Fernet.generate_key(), secure=True),
            Allowance(dict(per_minute)),
        )
        app = make_app(parts, [ipaddress.ip_network(PROXY)])
        transport = httpx.ASGITransport(app, client=(PROXY, 1))
        self._client = httpx.AsyncClient(transport=transport, base_url=URL)

    def close(self) -> None:
        """Ends the threads of the pages."""
        self.bureau.run(self._client.aclose())
        self._pool.close()

    def catch_up(self) -> None:
        """Tiles as the primary keeps them, up to the log's head."""
        head = self.bureau.log.sequencer.head
        self.tiles.catch_up(head.size, head.root)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """A page."""
        return self.bureau.run(self._client.get(path, **options))

    def get_together(self, path: str, clients: Iterable[str]) -> list[httpx.Response]:
        """A page, asked for at once by each of these clients, behind a proxy."""

        async def work() -> list[httpx.Response]:
            sent = [{"X-Forwarded-For": client} for client in clients]
            return list(await asyncio.gather(*(self._client.get(path, headers=h) for h in sent)))

        return self.bureau.run(work())

    def post(self, path: str, fields: Mapping[str, str], **options: Any) -> httpx.Response:
        """A form as it stands; no token is added."""
        return self.bureau.run(self._client.post(path, data=dict(fields), **options))

    def send(self, page: str, path: str, **fields: str) -> httpx.Response:
        """A form of a page: the page is loaded first, for its token."""
        return self.post(path, {"form_token": token_of(self.get(page)), **fields})

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Anything else."""
        return self.bureau.run(self._client.request(method, path, **options))

    @property
    def cookies(self) -> list[Cookie]:
        """What the visitor keeps."""
        return list(self._client.cookies.jar)

    def forget(self) -> None:
        """The visitor is somebody new."""
        self._client.cookies.clear()


def token_of(response: httpx.Response) -> str:
    """The token in a page's form."""
    found = re.search(r'name="form_token" value="([0-9a-f]+)"', response.text)
    assert found is not None, response.text
    return found[1]
