"""Members, reception and the primary's own certificate together, as the settings say."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from node.errors import ConfigurationError
from node.identity_files import IdentityFiles
from node.logging import get_logger
from node.workers import Workers
from primary.clock import clock_ms
from primary.cosigner_keys import CosignerKeys
from primary.enrolment import load_authority
from primary.log_signer import LogSigner
from primary.membership.members import Members
from primary.membership.own_certificate import OwnCertificate
from primary.membership.reception import Reception, Sources
from primary.membership.removed_keys import RemovedKeys, Submit
from primary.membership.roll import Roll
from primary.metrics import PrimaryMetrics
from primary.settings import PrimarySettings
from primary.store.reader import Reader
from registry.kinds import Kind

_log = get_logger("members")


class Membership:
    """All that decides who follows, on the running event loop."""

    def __init__(
        self,
        settings: PrimarySettings,
        files: IdentityFiles,
        signer: LogSigner,
        metrics: PrimaryMetrics,
        *,
        reader: Reader,
        submit: Submit,
    ) -> None:
        """`reader` and `submit` are the log's."""
        self._roll = Roll(settings.store_url)
        self._clerk = Workers("members")
        self.cosigners = CosignerKeys(settings.cosigners_dir, settings.origin)
        self.members = Members(
            self._roll,
            self._clerk,
            clock_ms,
            lambda: signer.board.removals,
            lambda key: reader.get(Kind.REMOVED_KEY, key) is not None,
        )
        self._removed_keys = RemovedKeys(
            self._roll, self._clerk, reader, submit, self.members.changed
        )
        self.reception = Reception(
            Sources(
                settings,
                self._roll,
                self._clerk,
                self.members,
                self.cosigners,
                lambda: signer.chain.notes[-1],
                lambda: signer.board.removals,
                clock_ms,
                lambda why: metrics.joins_refused.labels(why=why).inc(),
            )
        )
        self.own = OwnCertificate(settings, files, self._clerk, metrics.certificate_failures.inc)
        metrics.watch_certificates(self.own.days_left)
        metrics.watch_nodes(self._count)
        _tell_of_missing_key(settings)

    async def run(self) -> None:
        """Until it is cancelled."""
        await asyncio.gather(self.members.run(), self._removed_keys.run(), self.own.run())

    def close(self) -> None:
        """Ends its thread and connections; after `run` has ended."""
        self._clerk.close()
        self._roll.close()

    def _count(self) -> Mapping[str, int]:
        counted = Counter("removed" if n.is_removed else "follows" for n in self.members.nodes)
        return {status: counted[status] for status in ("follows", "removed")}


def _tell_of_missing_key(settings: PrimarySettings) -> None:
    try:
        load_authority(settings)
    except ConfigurationError as error:
        _log.warning(
            "authority.missing",
            reason=str(error),
            advice="nobody can join, and no certificate is renewed, until it is back",
        )
