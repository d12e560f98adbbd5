"""When a node is announced and when it is not: routes do not flap, and a drain waits for nobody."""

from __future__ import annotations

from secondary.anycast import FALL, RISE, Watch, exabgp_routes
from secondary.health import DRAINED

WELL, ILL = "", "no answer"


def test_it_takes_some_looks_in_a_row() -> None:
    """To be announced, and to be withdrawn; one stumble between is nothing."""
    watch = Watch()
    assert [False] * (RISE - 1) + [True] == [watch.see(WELL) for _ in range(RISE)]
    stumbling = [ILL] * (FALL - 1) + [WELL] + [ILL] * FALL
    assert [True] * (len(stumbling) - 1) + [False] == [watch.see(each) for each in stumbling]
    assert [False, False] == [watch.see(WELL), watch.see(ILL)]
    assert not any(watch.see(WELL) for _ in range(RISE - 1))


def test_a_drain_is_obeyed_at_once() -> None:
    """And after it the node has to be well again for some looks."""
    watch = Watch()
    for _ in range(RISE):
        watch.see(WELL)
    assert not watch.see(DRAINED)
    assert [False] * (RISE - 1) + [True] == [watch.see(WELL) for _ in range(RISE)]


def test_exabgp_is_told_what_changes() -> None:
    """Each route, and nothing twice; what an earlier process announced is withdrawn first."""
    said = list[str]()
    tell = exabgp_routes(["192.0.2.0/24", "2001:db8::/48"], said.append)
    for is_announced in (False, False, True, True, False):
        tell(is_announced)
    both = ("192.0.2.0/24", "2001:db8::/48")
    assert [
        f"{word} route {prefix} next-hop self"
        for word in ("withdraw", "announce", "withdraw")
        for prefix in both
    ] == said
