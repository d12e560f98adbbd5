"""Whose a domain or a mailbox is: what of them is counted as one.

A name below one's own domain costs nothing, nor does another spelling of one's own mailbox.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Final

from publicsuffixlist import PublicSuffixList

from registry.errors import Problem
from registry.names import parse_domain

# RFC 5233, section 1: what stands behind it is a detail within the same mailbox.
_DETAIL: Final = "+"


def registrable_domain(domain: str) -> str:
    """The part of a canonical domain that one person registered: a label below a public suffix.

    Suffixes are those of publicsuffix.org, the private ones included: below them are different
    people. Below a suffix that the list does not know it is two labels; a domain that is itself
    a suffix is its own.
    """
    return _suffixes().privatesuffix(domain) or domain


def canonical_mailbox(email: str) -> str:
    """The one spelling that stands for all of a mailbox: lower case, and without a "+tag".

    More is not known of it: dots, say, are alike at one provider and not at others (RFC 5321,
    section 2.3.11, leaves the local part to the host that receives).
    """
    local, _, domain = email.rpartition("@")
    local = local.partition(_DETAIL)[0] or local
    # As Unicode folds case (section 3.13, D145), put together again.
    folded = unicodedata.normalize("NFD", local).casefold()
    return f"{unicodedata.normalize('NFC', folded)}@{_a_labels(domain)}" if local else email


def _a_labels(domain: str) -> str:
    try:
        return parse_domain(domain, "email")
    except Problem:
        # Taken before it was looked at so closely.
        return domain.casefold()


@cache
def _suffixes() -> PublicSuffixList:
    """The list that the package brings; it costs some hundredths of a second."""
    return PublicSuffixList()
