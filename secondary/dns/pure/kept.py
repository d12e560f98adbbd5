"""What was found out of a query, kept for those that are like it."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from secondary.dns.codes import Option
from secondary.dns.pure.shapes import COOKIE_BYTES
from secondary.dns.query import CLIENT_COOKIE_BYTES

# Sound queries have some hundreds of shapes. Beyond this all are forgotten, and found again: who
# makes up new ones costs others a parse now and then.
MAX_KEPT: Final = 4096
# What is told apart by more bytes is not worth it.
MAX_KEY_BYTES: Final = 128


# What stands before a cookie, by its length: a client's alone, or with the server's from us.
_HEADS: Final = {
    size: Option.COOKIE.to_bytes(2) + size.to_bytes(2)
    for size in (CLIENT_COOKIE_BYTES, COOKIE_BYTES)
}
_SHORT: Final = slice(-CLIENT_COOKIE_BYTES)
_LONG: Final = slice(-COOKIE_BYTES)

_T = TypeVar("_T")


class Kept(Generic[_T]):
    """Values by parts of queries that reach to their ends; a cookie that stands there is left out.

    What a cookie stands behind says how long it is, so that nothing else can be behind it.
    """

    def __init__(self) -> None:
        # By parts without a cookie.
        self.whole: dict[bytes, _T] = {}
        # By parts up to and with the head of a short cookie, and of a long one: what is found so
        # has a cookie behind it, and of that length.
        self._before_short: dict[bytes, _T] = {}
        self._before_long: dict[bytes, _T] = {}

    def find(self, key: bytes) -> tuple[_T | None, bytes]:
        """What is kept for a part, if anything, and the cookie that it ends in."""
        found = self.whole.get(key)
        return self.find_before_cookie(key) if found is None else (found, b"")

    def find_before_cookie(self, key: bytes) -> tuple[_T | None, bytes]:
        """The same for parts that are not `whole`."""
        found = self._before_short.get(key[_SHORT])
        if found is not None:
            return found, key[-CLIENT_COOKIE_BYTES:]
        found = self._before_long.get(key[_LONG])
        return found, b"" if found is None else key[-COOKIE_BYTES:]

    def keep(self, key: bytes, cookie: bytes, value: _T) -> None:
        """Keeps the value for a part, of a query with this cookie if there is one."""
        if not cookie:
            _put(self.whole, key, value)
            return
        head = _HEADS.get(len(cookie))
        # Of two cookies the first one counts (RFC 7873, 5.3), and need not be the last.
        if head is None or key.count(head) != 1 or not key.endswith(head + cookie):
            return
        is_short = len(cookie) == CLIENT_COOKIE_BYTES
        _put(self._before_short if is_short else self._before_long, key[: -len(cookie)], value)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """How much is kept: without a cookie, with a short one, with a long one."""
        return len(self.whole), len(self._before_short), len(self._before_long)


def _put(kept: dict[bytes, _T], key: bytes, value: _T) -> None:
    if len(kept) >= MAX_KEPT:
        kept.clear()
    if len(key) <= MAX_KEY_BYTES:
        kept[key] = value
