"""Host and domain names: what a person writes, in canonical lower-case A-labels (RFC 5890)."""

from __future__ import annotations

import re
from typing import Final

import idna

from registry.errors import Problem

# RFC 1035, section 2.3.4: 255 octets on the wire are 253 characters of text.
MAX_NAME_LENGTH: Final = 253
# Possessive, so that no name costs more than one pass: every record loaded is matched.
_LABEL: Final = r"(?!-)[a-z0-9-]{1,63}+(?<!-)"
# RFC 1123, section 2.1: letters, digits and hyphens, no underscore; the last label is never
# a number, so that no name reads as an address.
_NAME: Final = re.compile(rf"(?:{_LABEL}\.)++(?![0-9]+\Z){_LABEL}")
_A_LABEL_START: Final = "xn--"
_A_LABEL: Final = re.compile(rf"(?:^|\.){_A_LABEL_START}")


def parse_host(text: str, field: str) -> str:
    """The canonical name of a host: two labels at least, one final dot dropped.

    Problem "host", naming `field`, for anything that is no host name.
    """
    return _parse(text, "host", field, "write the full name, like mail.example.org")


def parse_domain(text: str, field: str) -> str:
    """The canonical name of a domain: two labels at least, one final dot dropped.

    Problem "domain", naming `field`, for anything that is no domain name.
    """
    return _parse(text, "domain", field, "write the full name, like example.org")


def is_canonical(name: str) -> bool:
    """Whether `name` has the form that parsing gives: cheap, and blind to what A-labels hold."""
    return len(name) <= MAX_NAME_LENGTH and _NAME.fullmatch(name) is not None


def is_within(host: str, domain: str) -> bool:
    """Whether the canonical `host` is the canonical `domain` or a name below it."""
    return host == domain or host.endswith(f".{domain}")


def readable(name: str) -> str:
    """The canonical name as people write it: U-labels (RFC 5890) where it has A-labels."""
    if _A_LABEL_START not in name:
        return name
    return ".".join(_to_unicode(label) for label in name.split("."))


def _to_unicode(label: str) -> str:
    if not label.startswith(_A_LABEL_START):
        return label
    try:
        return idna.decode(label)
    except idna.IDNAError:
        # Replay looks at its form alone.
        return label


def _parse(text: str, code: str, field: str, advice: str) -> str:
    # Nearly every name comes as it is to be; what may be an A-label is looked into below.
    if _A_LABEL_START not in text and is_canonical(text):
        return text
    # Before any mapping: IDNA's cost grows with the square of what it is given.
    if len(text) > MAX_NAME_LENGTH + 1:
        raise Problem(code, f"a name has at most {MAX_NAME_LENGTH} characters; {advice}", field)
    name = text.lower()
    if not name.isascii() or _A_LABEL.search(name):
        name = _to_ascii(text, code, field, advice)
    name = name.removesuffix(".")
    if not is_canonical(name):
        raise Problem(
            code,
            "not a name of letters, digits and hyphens in two labels or more, "
            f"each of at most 63 octets; {advice}",
            field,
        )
    return name


def _to_ascii(text: str, code: str, field: str, advice: str) -> str:
    try:
        return idna.encode(text, uts46=True, std3_rules=True).decode("ascii").lower()
    except (idna.IDNAError, UnicodeError) as error:
        raise Problem(code, f"not an international name: {error}; {advice}", field) from None
