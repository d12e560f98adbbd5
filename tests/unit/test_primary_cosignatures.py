"""Rounds of cosignatures at the primary, and the keys that it knows mirrors by."""

from __future__ import annotations

from pathlib import Path

import pytest

from primary.cosignatures import Cosignatures, Vouched
from primary.cosigner_keys import CosignerKeys
from registry.cosigning import Cosigned, cosigner_name, sign_for
from registry.errors import Problem
from registry.note import Cosigner, UnverifiedNote
from tests.support.logs import NumberedLog

ORIGIN = "registry.example"
LOG = NumberedLog(ORIGIN)
NODES = ("mirror-1", "mirror-2", "mirror-3")


def key(node: str, seed: int = 0) -> Cosigner:
    return Cosigner(cosigner_name(ORIGIN, node), bytes([seed] * 32))


def cosigned(node: str, size: int, time_s: int = 1) -> Cosigned:
    return sign_for(LOG.note(size), key(node), time_s)


def published(one: Cosignatures) -> tuple[str, set[str]]:
    note = UnverifiedNote.parse(one.published)
    names = {line.name.rpartition("/")[2] for line in note.signatures}
    return note.text, names - {ORIGIN}


@pytest.fixture
def rounds() -> Cosignatures:
    one = Cosignatures(lambda: 100.0)
    one.begin(LOG.note(5), LOG.checkpoint(5))
    return one


def test_what_is_published_carries_every_word(rounds: Cosignatures) -> None:
    """Each mirror's newest signature, once."""
    for node in ("mirror-1", "mirror-2", "mirror-1"):
        rounds.add(node, cosigned(node, 5))
    assert (LOG.checkpoint(5).text(), {"mirror-1", "mirror-2"}) == published(rounds)
    assert Vouched(5, 1, 100.0) == rounds.vouched["mirror-2"]


def test_the_round_before_is_published_until_as_many_have_cosigned(rounds: Cosignatures) -> None:
    """A reader always finds a checkpoint that mirrors vouch for, and the newest of those."""
    for node in NODES[:2]:
        rounds.add(node, cosigned(node, 5))
    rounds.begin(LOG.note(9), LOG.checkpoint(9))
    rounds.add("mirror-1", cosigned("mirror-1", 9))
    assert (LOG.checkpoint(5).text(), set(NODES[:2])) == published(rounds)
    rounds.add("mirror-3", cosigned("mirror-3", 9))
    assert (LOG.checkpoint(9).text(), {"mirror-1", "mirror-3"}) == published(rounds)


def test_a_round_of_the_same_log_keeps_its_signatures(rounds: Cosignatures) -> None:
    """While nothing changes, a checkpoint is never without what was said of it."""
    rounds.add("mirror-1", cosigned("mirror-1", 5))
    rounds.begin(LOG.note(5), LOG.checkpoint(5))
    assert {"mirror-1"} == published(rounds)[1]


def test_a_word_for_another_size_is_not_published(rounds: Cosignatures) -> None:
    """It is remembered, though."""
    rounds.add("mirror-1", cosigned("mirror-1", 4))
    assert set() == published(rounds)[1]
    assert 4 == rounds.vouched["mirror-1"].size


def test_the_first_key_of_a_node_counts(tmp_path: Path) -> None:
    """Another one is refused, after a restart too, until the operator forgets the first."""
    keys = CosignerKeys(tmp_path / "keys", ORIGIN)
    keys.check("mirror-1", key("mirror-1").verifier())
    keys.check("mirror-1", key("mirror-1").verifier())
    again = CosignerKeys(tmp_path / "keys", ORIGIN)
    with pytest.raises(Problem, match="another key"):
        again.check("mirror-1", key("mirror-1", 1).verifier())
    assert [True, False] == [again.forget("mirror-1"), again.forget("mirror-1")]
    again.check("mirror-1", key("mirror-1", 1).verifier())


@pytest.mark.parametrize(
    ("node", "vkey"),
    [
        ("mirror-1", key("mirror-2").verifier().vkey()),
        ("mirror-1", "nonsense"),
        ("mirror-1", LOG.signer.verifier().vkey()),
    ],
    ids=["another's", "no key", "a signer's"],
)
def test_a_key_that_is_not_the_nodes_is_refused(tmp_path: Path, node: str, vkey: str) -> None:
    """The name in the key has to be the certificate's, and its kind a cosigner's."""
    with pytest.raises(Problem):
        CosignerKeys(tmp_path, ORIGIN).parse(node, vkey)


@pytest.mark.parametrize("node", ["", "..", "a/b", "ä", "x" * 64])
def test_a_name_that_is_no_label_names_no_file(tmp_path: Path, node: str) -> None:
    """A certificate's name becomes part of a path only if it is one label."""
    with pytest.raises(Problem):
        CosignerKeys(tmp_path, ORIGIN).forget(node)
