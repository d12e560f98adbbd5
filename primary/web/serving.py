"""The page on its listener, as the settings say."""

from __future__ import annotations

from collections.abc import Callable

from node.web_server import WebLimits, WebServer
from node.workers import Workers
from primary.changes import Change
from primary.desk.office import Office
from primary.intake import Intake
from primary.public_log import PublicLog
from primary.settings import PrimarySettings
from primary.store.reader import Reader
from primary.tile_keeper import TileKeeper
from primary.web.allowance import Allowance, Effort
from primary.web.application import make_app
from primary.web.catalogue import Catalogue
from primary.web.proving import Prover
from primary.web.site import Parts
from primary.web.visit import Visits
from registry.checkpoint import CheckpointKeys


def open_page(
    settings: PrimarySettings,
    *,
    office: Office,
    intake: Intake,
    log: PublicLog,
    reader: Reader,
    tiles: TileKeeper,
    pool: Workers,
    keys: Callable[[], CheckpointKeys],
    admit: Callable[[Change], None],
) -> WebServer | None:
    """The listener, bound and not yet answering; None if the settings name none."""
    web = settings.web
    if web.listen is None:
        return None
    secure = web.url.startswith("https://")
    parts = Parts(
        settings.origin,
        web.url,
        office.desk,
        intake,
        admit,
        log,
        Catalogue(reader, pool, office.book, office.clerk, office.resolvers),
        Prover(intake, reader, tiles, pool),
        keys,
        office.complaints,
        Visits.open(settings.cookie_key_file, secure=secure),
        Allowance(
            {
                Effort.PAGE: web.pages_per_minute,
                Effort.LOOK: web.looks_per_minute,
                Effort.CHANGE: web.changes_per_minute,
            }
        ),
    )
    trusted = frozenset(str(one.network_address) for one in web.proxies if one.num_addresses == 1)
    return WebServer(
        web.listen,
        make_app(parts, web.proxies),
        WebLimits(web.connections, web.connections_per_client, trusted),
        certificate=web.certificate,
        key=web.key,
    )
