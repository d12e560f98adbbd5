"""smtpnic status: how each node stands."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import typer

from node.endpoint import Endpoint
from node.errors import ConfigurationError
from node.exits import ExitCode
from registry.checkpoint import CheckpointKeys
from registry.errors import RegistryError
from smtpnic.commands.verify import Mirrors
from smtpnic.nodes import NodeState, judge, mirror_state, primary_state, unreachable_state
from smtpnic.output import time_text
from smtpnic.session import Session
from smtpnic.settings import Settings

MAX_CONCURRENT_NODES = 16

MirrorsOnly = Annotated[bool, typer.Option("--mirrors-only", help="Leave the primary out of it.")]


def status(
    context: typer.Context, *, mirror: Mirrors = None, mirrors_only: MirrorsOnly = False
) -> None:
    """Show each node's size, lag, zone serial and age of checkpoint and freshness.

    The nodes are the primary (--primary) and the mirrors (--mirror), else those of the
    configuration. With --root checkpoints are checked, and forks are found.

    Exit code 1: something is wrong; the advice column says what.
    """
    session: Session = context.obj
    settings = session.settings(mirrors=mirror or None)
    judged = ask_nodes(session, settings, session.keys(settings), mirrors_only=mirrors_only)
    if not judged:
        raise ConfigurationError("which nodes? Give --primary HOST:PORT or --mirror HOST:PORT")
    now_ms = time.time_ns() // 1_000_000
    session.output.table(
        "nodes",
        [dict(_values(state, now_ms)) for state in judged],
        checkpoints_verified=settings.root is not None,
    )
    if any(state.advice for state in judged):
        raise typer.Exit(ExitCode.FAILED)


def ask_nodes(
    session: Session,
    settings: Settings,
    keys: CheckpointKeys | None,
    *,
    mirrors_only: bool = False,
) -> list[NodeState]:
    """How each node of the settings stands beside the others; checkpoints are checked by `keys`."""
    nodes = [("mirror", endpoint) for endpoint in settings.mirrors]
    if settings.primary is not None and not mirrors_only:
        nodes.insert(0, ("primary", settings.primary))
    if not nodes:
        return []
    with ThreadPoolExecutor(min(len(nodes), MAX_CONCURRENT_NODES)) as pool:
        states = list(pool.map(lambda node: _ask(session, settings, *node), nodes))
    return judge(states, keys, time.time_ns() // 1_000_000)


def _ask(session: Session, settings: Settings, role: str, endpoint: Endpoint) -> NodeState:
    address = str(endpoint)
    try:
        if role == "primary":
            with session.primary(settings, attempts=1) as primary:
                return primary_state(address, primary.statistics())
        with session.mirror(settings, endpoint) as mirror:
            return mirror_state(address, mirror.status())
    except ConfigurationError:
        raise
    except RegistryError as error:
        return unreachable_state(role, address, error)


def _values(state: NodeState, now_ms: int) -> Iterator[tuple[str, object]]:
    yield "node", state.role
    yield "address", state.address
    yield "name", state.name
    yield "phase", state.phase
    yield "size", state.size
    yield "lag", state.lag
    yield "zone_serial", state.zone_serial
    yield "checkpoint", time_text(state.checkpoint_ms)
    yield "checkpoint_age_seconds", _age(state.checkpoint_ms, now_ms)
    yield "freshness_age_seconds", _age(state.freshness_ms, now_ms)
    yield "advice", list(state.advice)


def _age(time_ms: int, now_ms: int) -> int | None:
    return max(0, now_ms - time_ms) // 1000 if time_ms else None
