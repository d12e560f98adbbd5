"""Server cookies that every server of a site can make and check (RFC 7873, RFC 9018)."""

from __future__ import annotations

import hmac
import secrets
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from siphashc import siphash

from secondary.dns.query import CLIENT_COOKIE_BYTES

# RFC 9018, 4.4: the key of SipHash-2-4.
SECRET_BYTES: Final = 16
# While secrets are changed: the one to come, the one in use, the one that goes (RFC 9018, 5).
MAX_SECRETS: Final = 3

# RFC 9018, 4: version, reserved, timestamp; the hash of 8 bytes follows.
_HEAD: Final = struct.Struct("!B3sI")
_VERSION: Final = 1
_SERVER_COOKIE_BYTES: Final = 16
# RFC 9018, 4.3.
_RENEW_SECONDS: Final = 30 * 60
_OLDEST_SECONDS: Final = 60 * 60
_FUTURE_SECONDS: Final = 5 * 60
_SERIAL: Final = 1 << 32


class ServerCookies:
    """Makes cookies with the first secret and knows those of all; nothing is kept of clients."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Each key is a secret of 16 bytes; ValueError for none, too many, or other lengths."""
        if not 0 < len(keys) <= MAX_SECRETS:
            raise ValueError(f"expected one secret, and {MAX_SECRETS} at most, not {len(keys)}")
        if any(len(key) != SECRET_BYTES for key in keys):
            raise ValueError(f"a secret has {SECRET_BYTES} bytes, as 32 hexadecimal digits")
        self.keys = tuple(keys)

    @classmethod
    def of_one_process(cls) -> ServerCookies:
        """With a secret that nobody else knows, and that ends with the process."""
        return cls([secrets.token_bytes(SECRET_BYTES)])

    @classmethod
    def parse(cls, text: str) -> ServerCookies:
        """Of secrets in hexadecimal, one a line; ValueError says what is wrong."""
        lines = [line.strip() for line in text.splitlines()]
        try:
            keys = [bytes.fromhex(line) for line in lines if line]
        except ValueError:
            raise ValueError("expected hexadecimal digits, 32 a line") from None
        return cls(keys)

    def answer(self, cookie: bytes, client: bytes, now: float) -> tuple[bytes, bool]:
        """The cookie to send back, and whether the one that came was made here for this client.

        `cookie` is the option's data, `client` the packed address; `now` in seconds since 1970.
        """
        now_s = int(now)
        client_cookie, is_known = cookie, False
        if len(cookie) > CLIENT_COOKIE_BYTES:
            client_cookie, came = cookie[:CLIENT_COOKIE_BYTES], cookie[CLIENT_COOKIE_BYTES:]
            maker = self._maker(client_cookie, came, client)
            age = None if maker is None else _age_seconds(came, now_s)
            is_known = age is not None and -_FUTURE_SECONDS <= age <= _OLDEST_SECONDS
            # A cookie of a secret that will go soon is replaced as an old one is.
            if is_known and maker == self.keys[0] and age is not None and age <= _RENEW_SECONDS:
                return cookie, True
        begun = client_cookie + _beginning(now_s)
        return begun + _hash(self.keys[0], begun + client), is_known

    def _maker(self, client_cookie: bytes, came: bytes, client: bytes) -> bytes | None:
        """The secret that the server cookie was made with; None if with none of ours."""
        if len(came) != _SERVER_COOKIE_BYTES or came[0] != _VERSION:
            return None
        # The reserved bytes are hashed as they came (RFC 9018, 4.2).
        head, hashed = came[: _HEAD.size], came[_HEAD.size :]
        for key in self.keys:
            if hmac.compare_digest(_hash(key, client_cookie + head + client), hashed):
                return key
        return None


@lru_cache(1)
def _beginning(now_s: int) -> bytes:
    """What a server cookie of now begins with."""
    return _HEAD.pack(_VERSION, bytes(3), now_s % _SERIAL)


def _age_seconds(came: bytes, now_s: int) -> int:
    """Seconds since the cookie was made, by serial number arithmetic (RFC 9018, 4.3)."""
    made_s = _HEAD.unpack_from(came)[2]
    age: int = (now_s - made_s) % _SERIAL
    return age if age < _SERIAL // 2 else age - _SERIAL


def _hash(key: bytes, data: bytes) -> bytes:
    return siphash(key, data).to_bytes(8, "little")
