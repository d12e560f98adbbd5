"""What several of the unit tests are given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sequencing import Log, new_log


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """An open, empty log."""
    log = new_log(tmp_path)
    yield log
    log.close()
