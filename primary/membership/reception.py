"""Takes in who comes with a token, and renews the certificates of those who are in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from node.certificates import key_digest, read_request
from node.doorkeeper import concerns
from node.errors import ConfigurationError, StorageError
from node.logging import get_logger
from node.workers import Workers
from primary.cosigner_keys import CosignerKeys
from primary.enrolment import load_authority
from primary.membership.judging import (
    UsedTwiceError,
    check_free,
    check_name,
    check_names,
    check_ticket,
    joined,
)
from primary.membership.members import Members
from primary.membership.roll import Roll
from primary.membership.values import Asked, Node, Ticket
from primary.pki import Authority, Life, Names, is_loopback, names_of
from primary.settings import PrimarySettings
from registry.errors import Problem
from registry.node_name import is_node_name
from registry.note import CosignatureVerifier

# Refusals a minute of one client, until it has to wait: enough for a person, not for a program.
REFUSALS: Final = 10
REFUSALS_MS: Final = 60_000
# Clients that are counted at once; more begin a new count.
COUNTED_CLIENTS: Final = 10_000

_log = get_logger("joining")


class TooManyRefusalsError(Exception):
    """This client was refused too often: it may come again in a minute."""


class CannotIssueError(Exception):
    """The authority's key is not here, or not usable; the text is for the node's operator."""


@dataclass(frozen=True, slots=True)
class Welcome:
    """What a node gets: a certificate (PEM) of its key, the board's root, and where to follow."""

    node: Node
    certificate: bytes
    root: bytes
    upstream: str


@dataclass(frozen=True, slots=True)
class Sources:
    """What the reception works with; `newest_root` is as the board signed it."""

    settings: PrimarySettings
    roll: Roll
    clerk: Workers
    members: Members
    cosigners: CosignerKeys
    newest_root: Callable[[], bytes]
    # When the board removed whom, in milliseconds since 1970.
    removals: Callable[[], Mapping[str, int]]
    clock: Callable[[], int]
    # Told why somebody was refused: the problem's code, or "used_twice".
    count_refusal: Callable[[str], None]


class Reception:
    """For the event loop's thread only."""

    def __init__(self, sources: Sources) -> None:
        self._from = sources
        self._refusals: Counter[str] = Counter()
        self._refusals_since_ms = 0

    async def join(
        self, client: str, secret: bytes, asked: Asked, request: bytes, cosigner: str
    ) -> Welcome:
        """Takes a node in. `client` is whom refusals are counted for; `asked.key` is not read.

        Problem: it may not join like this. TooManyRefusalsError, CannotIssueError;
        StoreUnavailableError, StorageError: not now.
        """
        self._check_refusals(client)
        try:
            return await self._join(secret, asked, request, cosigner)
        except UsedTwiceError as problem:
            self._refuse(client, "used_twice")
            ticket, reason = _label(secret), problem.message
            _log.error("token.used_twice", ticket=ticket, client=client, reason=reason)
            raise
        except Problem as problem:
            self._refuse(client, problem.code)
            ticket, reason = _label(secret), problem.message
            _log.warning("join.refused", ticket=ticket, client=client, reason=reason)
            raise

    async def renew_ended(self, client: str, name: str, request: bytes) -> bytes:
        """Another certificate (PEM) for a node that can show none any more; errors as of `join`.

        That the request is signed with the node's key is proof enough: to anyone else the
        certificate is of no use.
        """
        self._check_refusals(client)
        if not is_node_name(name):
            # Nothing so long is written to the log.
            self._refuse(client, "name")
            raise Problem("name", "no node has such a name", "name")
        await self._from.members.refresh()
        node = self._from.members.find(name)
        try:
            if node is None or node.is_removed:
                raise Problem("not_found", f"no node {name} may follow: join with a token", "name")
            return await self.renew(name, request)
        except Problem as problem:
            self._refuse(client, problem.code)
            _log.warning("renewal.refused", node=name, client=client, reason=problem.message)
            raise

    async def renew(self, name: str, request: bytes) -> bytes:
        """Another certificate (PEM) for a node that was let in; errors as of `join`."""
        node = self._from.members.find(name)
        key = read_request(request)
        if node is None or key_digest(key) != node.key:
            raise Problem(
                "request", f"{name} keeps its key: with another one it has to join again", "request"
            )
        certificate = await self._certify(node, key)
        _log.info("certificate.renewed", node=name)
        return certificate

    async def _join(self, secret: bytes, asked: Asked, request: bytes, cosigner: str) -> Welcome:
        key = read_request(request)
        # Before the token counts as used.
        await self._from.clerk.run(self._authority)
        own = names_of(self._from.settings.tls.certificate.read_bytes()).texts
        now_ms = self._from.clock()
        shown = Asked(asked.name, asked.names, key_digest(key), asked.peer)
        found: list[Ticket] = []

        def judge(ticket: Ticket | None, find: Callable[[str], Node | None]) -> tuple[Ticket, Node]:
            checked = check_ticket(ticket, shown.key, now_ms)
            name = check_name(checked, shown)
            check_free(find(name), checked, shown.key)
            names = check_names(checked, shown, lambda text: text in own and not is_loopback(text))
            if cosigner:
                self._from.cosigners.parse(name, cosigner)
            found.append(checked)
            return joined(checked, shown, name, names, now_ms)

        node = await self._from.clerk.run(
            self._from.roll.join, sha256(secret).digest(), judge, now_ms
        )
        (ticket,) = found
        if cosigner:
            verifier = self._from.cosigners.parse(node.name, cosigner)
            await self._from.clerk.run(self._know_cosigner, node, ticket, verifier)
        certificate = await self._certify(node, key)
        await self._from.members.refresh()
        _log.info("node.joined", node=node.name, role=node.role.value, ticket=ticket.label)
        return Welcome(node, certificate, self._from.newest_root(), ticket.upstream)

    def _know_cosigner(self, node: Node, ticket: Ticket, verifier: CosignatureVerifier) -> None:
        # The token, not the name, is what says who it is: a name's earlier key counts no more.
        if not ticket.used_ms:
            self._from.cosigners.forget(node.name)
        self._from.cosigners.check(node.name, verifier)

    async def _certify(self, node: Node, key: EllipticCurvePublicKey) -> bytes:
        authority = await self._from.clerk.run(self._authority)
        days = self._from.settings.authority.certificate_days
        removed_ms = self._from.removals().get(node.name)
        if removed_ms is not None and concerns(removed_ms, node.joined_ms):
            # Where only certificates tell, this one would be of a node that joined later.
            raise Problem("not_found", f"{node.name} was removed: join with a new token", "name")
        life = Life(datetime.now(UTC), days, after=_behind(removed_ms) if removed_ms else None)
        return authority.certify_node(node.name, Names.of(node.names), key, life)

    def _authority(self) -> Authority:
        try:
            return load_authority(self._from.settings)
        except (ConfigurationError, StorageError) as error:
            _log.error(
                "authority.missing",
                reason=str(error),
                advice="put the authority's key back, or issue certificates where it is",
            )
            raise CannotIssueError(
                "this primary does not have its authority's key at hand: tell its operator"
            ) from None

    def _refuse(self, client: str, why: str) -> None:
        self._refusals[client] += 1
        self._from.count_refusal(why)

    def _check_refusals(self, client: str) -> None:
        now_ms = self._from.clock()
        is_over = now_ms - self._refusals_since_ms >= REFUSALS_MS
        if is_over or len(self._refusals) >= COUNTED_CLIENTS:
            self._refusals.clear()
            self._refusals_since_ms = now_ms
        if self._refusals[client] >= REFUSALS:
            raise TooManyRefusalsError(f"{REFUSALS} refusals in a minute: wait for one")


def _behind(removed_ms: int) -> datetime:
    """The next time that a certificate can begin, which counts in seconds."""
    return datetime.fromtimestamp(removed_ms // 1000 + 1, UTC)


def _label(secret: bytes) -> str:
    return sha256(secret).hexdigest()[:8]
