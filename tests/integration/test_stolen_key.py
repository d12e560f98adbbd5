"""P2: a log key was stolen; the board retires it, and nobody takes what the thief signs then."""

from __future__ import annotations

from pathlib import Path

from primary.pki import authority_digest
from registry.board import root_key
from registry.errors import RetiredKeyError
from registry.kinds import Kind
from registry.root import LogKey
from tests.support.boards import ALICE, NEXT_SIGNER, chain_of, next_root, sign_root
from tests.support.mirror import SECONDS, Mirror, address_of, change, log_of
from tests.support.wait import wait_until


def test_a_stolen_key_signs_nothing_after_its_rotation(tmp_path: Path) -> None:
    """What the thief signs is refused under an error of its own by a mirror that has the root; what
    was signed before stays, and the log goes on under the next key. The root has expired by now:
    that is told of, and nothing stops."""
    with Mirror(tmp_path) as mirror:
        mirror.go_on()
        roots = retire(mirror)
        thief = log_of(mirror.rounds + 1)
        with mirror.upstream.changing() as upstream:
            # It shows what is true, and streams what is not.
            upstream.checkpoint, upstream.log = upstream.log.checkpoint, thief
            upstream.is_away = False
        wait_until(
            lambda: mirror.probe.events("upstream.distrusted", error=RetiredKeyError.__name__),
            seconds=SECONDS,
            what=f"RetiredKeyError; {mirror.probe.status()}",
        )
        mirror.wait_phase("stopped")
        assert mirror.secondary.ask_dns(address_of(mirror.rounds)) == "registered"
        assert mirror.secondary.ask_dns(address_of(mirror.rounds + 1)) == "NXDOMAIN"

        log = log_of(mirror.rounds)
        log.signer = NEXT_SIGNER
        for version, note in enumerate(roots, 1):
            log.put(Kind.ROOT, root_key(version), note, critical=True)
        change(log, mirror.rounds + 1)
        log.commit()
        mirror.rounds += 1
        with mirror.upstream.changing() as upstream:
            upstream.checkpoint, upstream.log = b"", log
        mirror.wait_current()
        assert 2 == mirror.probe.metric("follower", "smtpnic_root_version")
        assert mirror.probe.events("root.expired", version=2)


def retire(mirror: Mirror) -> list[bytes]:
    """The upstream is away, and will have the root that retires its key where the log stands.

    Both roots.
    """
    mirror.cut_off()
    digest = authority_digest(mirror.authority.identity.certificate)
    chain = chain_of(mirror.log.signer, mirror.log.cosigner, digest)
    retired = LogKey(mirror.log.verifier, 0, mirror.log.size)
    second = next_root(chain.current, log_keys=(retired, LogKey(NEXT_SIGNER.verifier())))
    with mirror.upstream.changing() as upstream:
        upstream.roots = [sign_root(second, ALICE)]
    return [*chain.notes, *upstream.roots]
