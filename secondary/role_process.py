"""One role in a process of its own."""

from __future__ import annotations

from pathlib import Path

from node.logging import configure
from secondary.settings import Role, SecondarySettings


def run_role(role: Role, config: Path) -> None:
    """Runs the role until SIGTERM or SIGINT; ConfigurationError if it cannot."""
    settings = load(config)
    # What the others need stays out of memory.
    match role:
        case Role.FOLLOWER:
            from secondary.follower_role import run as run_follower  # noqa: PLC0415

            run_follower(settings, config.resolve())
        case Role.DNS:
            from secondary.dns.server import run as run_dns  # noqa: PLC0415

            run_dns(settings)
        case Role.WHOIS:
            from secondary.whois.server import run as run_whois  # noqa: PLC0415

            run_whois(settings)


def load(config: Path) -> SecondarySettings:
    """The settings, with the log set up as they say."""
    settings = SecondarySettings.load(config)
    configure(settings.log_format, settings.log_level)
    return settings
