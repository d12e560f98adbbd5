"""The primary's listeners: where they listen, and whom they let in."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from node.errors import ConfigurationError
from node.listener import Capacity, Listener


def _bind(path: Path) -> None:
    async def bind() -> None:
        listener = Listener([], Capacity(connections=1, calls=1))
        listener.bind_socket(path)
        await listener.stop(0)

    asyncio.run(bind())


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_directory_of_a_socket_is_made_private(tmp_path: Path) -> None:
    """Nobody else comes near the socket."""
    _bind(tmp_path / "deep/run/a.sock")
    assert 0o700 == _mode(tmp_path / "deep/run")


def test_a_directory_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    """It may hold what others use."""
    tmp_path.chmod(0o755)
    _bind(tmp_path / "a.sock")
    assert 0o755 == _mode(tmp_path)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_a_directory_that_others_can_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    """They could put a socket of their own there."""
    tmp_path.chmod(mode)
    with pytest.raises(ConfigurationError, match="others can write"):
        _bind(tmp_path / "a.sock")
    assert mode == _mode(tmp_path)
