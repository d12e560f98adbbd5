"""What the fuzzer found worth keeping is asked again in every run, without sanitizers."""

from __future__ import annotations

from pathlib import Path

from tests.support.fuzzing import check_answer

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"


def test_what_was_found_before() -> None:
    """Datagrams and records that take different ways through the compiled modules."""
    found = sorted(CORPUS.iterdir())
    assert len(found) > 100
    for path in found:
        check_answer(path.read_bytes())
