"""Who visits: a cookie that only this primary reads, and the token that our own forms bear.

The management key is in the visitor's cookie, encrypted, and nowhere here: the registry goes on
knowing no more than its hash.
"""

from __future__ import annotations

import hmac
import json
import secrets
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet, InvalidToken
from starlette.requests import Request
from starlette.responses import Response

from node.errors import ConfigurationError
from node.files import read_private, write_atomic
from registry.holder import holder_id_of
from registry.limits import HOLDER_ID_BYTES

# As long as an application waits at most, in seconds.
MAX_AGE_SECONDS: Final = 7 * 86_400
KEY_BYTES: Final = 32
_NAME: Final = "smtpnic"


@dataclass(frozen=True, slots=True)
class HolderKey:
    """A holder's identifier and management key."""

    holder_id: bytes
    management_key: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> HolderKey:
        """A new holder's."""
        management_key = secrets.token_bytes(KEY_BYTES)
        return cls(holder_id_of(management_key), management_key)

    @classmethod
    def read(cls, text: str) -> HolderKey | None:
        """From what a person pastes: the key file, or both parts in hexadecimal; or None."""
        try:
            values = json.loads(text)
            parts = [values["holder_id"], values["management_key"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            parts = text.replace(":", " ").split()
        try:
            holder_id, management_key = (bytes.fromhex(part) for part in parts)
        except (ValueError, TypeError):
            return None
        if (len(holder_id), len(management_key)) != (HOLDER_ID_BYTES, KEY_BYTES):
            return None
        return cls(holder_id, management_key)

    def text(self) -> str:
        """What a person copies."""
        return f"{self.holder_id.hex()}:{self.management_key.hex()}"

    def file(self) -> bytes:
        """The key file of the command line."""
        values = {
            "holder_id": self.holder_id.hex(),
            "management_key": self.management_key.hex(),
        }
        return json.dumps(values, indent=1).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Visit:
    """What the cookie holds: a random name, whose key, and what is being applied for.

    `recovers` is the domain of a recovery; `instead_of` the address to withdraw after a move;
    `unsaved`: the key is shown until the person says that it is kept.
    """

    name: str
    key: HolderKey | None = None
    application_id: bytes = b""
    address: str = ""
    recovers: str = ""
    instead_of: str = ""
    unsaved: bool = False

    @classmethod
    def begin(cls) -> Visit:
        """Somebody new."""
        return cls(secrets.token_hex(16))

    def signed_out(self) -> Visit:
        """The same visitor, without a key; forms get another token."""
        return Visit.begin()

    def applying(self, key: HolderKey, application_id: bytes, **others: str) -> Visit:
        """Applies for something with this key."""
        plain = Visit(self.name, key, application_id, unsaved=self.unsaved)
        return replace(plain, **others)  # type: ignore[arg-type]

    def granted(self) -> Visit:
        """Nothing is applied for any more."""
        return Visit(self.name, self.key, unsaved=self.unsaved)


class Visits:
    """Reads and writes cookies."""

    def __init__(self, secret: bytes, *, secure: bool) -> None:
        """`secure`: people come over TLS, so the cookie is bound to this host (RFC 6265bis)."""
        self._secret = secret
        self._fernet = Fernet(secret)
        self._secure = secure
        self.cookie = f"__Host-{_NAME}" if secure else _NAME

    @classmethod
    def open(cls, file: Path, *, secure: bool) -> Visits:
        """With the key in this file, which is made if there is none."""
        if not file.exists():
            write_atomic(file, Fernet.generate_key())
        try:
            return cls(read_private(file), secure=secure)
        except ValueError:
            raise ConfigurationError(
                f"{file} holds no key of cookies: remove it, and everybody signs in again"
            ) from None

    def of(self, request: Request) -> Visit:
        """Whose request it is; somebody new if the cookie is missing, old or not ours."""
        text = request.cookies.get(self.cookie, "")
        try:
            values = json.loads(self._fernet.decrypt(text, ttl=MAX_AGE_SECONDS))
        except (InvalidToken, ValueError):
            return Visit.begin()
        key = HolderKey.read(values.pop("key"))
        application_id = bytes.fromhex(values.pop("application_id"))
        return Visit(key=key, application_id=application_id, **values)

    def keep(self, response: Response, visit: Visit) -> Response:
        """The response, with the cookie."""
        values = {
            "name": visit.name,
            "key": visit.key.text() if visit.key else "",
            "application_id": visit.application_id.hex(),
            "address": visit.address,
            "recovers": visit.recovers,
            "instead_of": visit.instead_of,
            "unsaved": visit.unsaved,
        }
        token = self._fernet.encrypt(json.dumps(values).encode()).decode()
        response.set_cookie(
            self.cookie,
            token,
            max_age=MAX_AGE_SECONDS,
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="lax",
        )
        return response

    def form_token(self, visit: Visit) -> str:
        """What a form of this visitor's bears, that no other site can know."""
        return hmac.new(self._secret, b"form " + visit.name.encode(), sha256).hexdigest()

    def is_form_token(self, visit: Visit, text: str) -> bool:
        """Whether a form is of a page that we gave this visitor."""
        return hmac.compare_digest(self.form_token(visit).encode(), text.encode())
