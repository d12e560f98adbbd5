"""What a primary signs with, as its files hold it, and whether the board's root names it."""

from __future__ import annotations

from dataclasses import dataclass

from node.errors import ConfigurationError
from primary.keys import Keys, load_log_key
from primary.log_signer import LogSigner, pin_root
from primary.settings import PrimarySettings
from registry.note import Cosigner


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """What the primary signs with: checkpoints, and their freshness."""

    log: LogSigner
    freshness: Cosigner


def load_keys(settings: PrimarySettings) -> SigningKeys:
    """The signing keys, and the root that is pinned; ConfigurationError if a file is not usable.

    Which of the keys is good is for the board's newest root to say, once the log was read.
    """
    keys = Keys.load(settings.log_key_file, settings.freshness_key_file, settings.origin)
    signers = [keys.log]
    if settings.next_log_key_file.exists():
        signers.append(load_log_key(settings.next_log_key_file, settings.origin))
    chain = pin_root(settings.root_file, settings.origin)
    return SigningKeys(LogSigner(signers, chain), keys.freshness)


def check_keys(keys: SigningKeys, size: int) -> None:
    """ConfigurationError unless the board's root names the keys for a log that grows from here."""
    root = keys.log.chain.current
    if not keys.log.has_key_at(size + 1):
        raise ConfigurationError(
            f"root {root.version} names no log key of this machine for sizes from {size}: put the "
            "right key file back, or have the board sign a root that names it"
        )
    if keys.freshness.verifier() not in root.freshness_keys:
        raise ConfigurationError(f"root {root.version} does not name this freshness key")
