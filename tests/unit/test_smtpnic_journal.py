"""The journal and the report beside an input."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from pathlib import Path

import pytest

from node.errors import ConfigurationError, StorageError
from registry.errors import Problem
from smtpnic.errors import Interrupted
from smtpnic.importing import Chunk, Settled
from smtpnic.journal import Counts, Journal
from smtpnic.ledger import Ledger, Paths
from smtpnic.rows import RefusedRow

BEGUN = Journal("127.0.0.1:7441", "00" * 16)


def settled(line: int, *refused: int) -> Settled:
    chunk = Chunk((), (), line * 10, line, f"digest {line}")
    rows = [
        RefusedRow(number, ("a", "b", "c"), Problem("x", "because", "host")) for number in refused
    ]
    return Settled(chunk, Counts(registered=1, refused=len(rows)), rows)


def test_a_journal_is_read_as_it_was_written(tmp_path: Path) -> None:
    """All of it."""
    journal = Journal("p", "h", 5, 2, "aa", 7, Counts(1, 2, 3, 4))
    journal.save(tmp_path / "j")
    assert Journal.load(tmp_path / "j") == journal
    assert Journal.load(tmp_path / "none") is None


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"format": "smtpnic-import-1"}', '{"format": "smtpnic-import-9"}', "\xff"],
)
def test_a_damaged_journal_is_refused(tmp_path: Path, text: str) -> None:
    """With the way out of it."""
    (tmp_path / "j").write_text(text, encoding="latin-1")
    with pytest.raises(ConfigurationError, match="--restart"):
        Journal.load(tmp_path / "j")


def test_negative_positions_cannot_be_made() -> None:
    """A wrong journal cannot exist."""
    with pytest.raises(ValueError, match="count from zero"):
        dataclasses.replace(BEGUN, offset=-1)


def test_leaving_early_keeps_the_exact_position(tmp_path: Path) -> None:
    """And the next ledger cuts the report to what is settled."""
    paths = Paths.beside(str(tmp_path / "in.csv"))
    assert paths.journal is not None
    with suppress(Interrupted), Ledger(paths, BEGUN) as ledger:
        ledger.settle(settled(3, 2))
        raise Interrupted
    journal = Journal.load(paths.journal)
    assert journal is not None
    assert (journal.offset, journal.line, journal.counts.refused) == (30, 3, 1)
    with paths.report.open("ab") as report:
        report.write(b"a row that was not settled when the machine died\n")
    with Ledger(paths, journal) as ledger:
        ledger.settle(settled(6, 5))
    assert paths.report.read_text() == (
        "address,host,domain,line,code,message\na,b,c,2,x,host: because\na,b,c,5,x,host: because\n"
    )
    assert not paths.journal.exists()


def test_an_early_failure_leaves_nothing(tmp_path: Path) -> None:
    """Where nothing is settled there is nothing to remember."""
    paths = Paths.beside(str(tmp_path / "in.csv"))
    with suppress(Interrupted), Ledger(paths, BEGUN):
        raise Interrupted
    assert not list(tmp_path.iterdir())


def test_a_directory_that_cannot_be_written_is_noticed_at_once(tmp_path: Path) -> None:
    """Before any row is sent."""
    with pytest.raises(StorageError), Ledger(Paths.beside(str(tmp_path / "none" / "in")), BEGUN):
        pytest.fail("entered")
