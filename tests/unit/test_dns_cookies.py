"""Server cookies: the vectors of RFC 9018, appendix A, and how long a cookie is good."""

from __future__ import annotations

import pytest

from registry.address import Address
from secondary.dns.cookies import ServerCookies

OLD, NEW = "dd3bdf9344b678b185a6f5cb60fca715", "445536bcd2513298075a5d379663c962"
SECRET = "e5e973e5a6b2a43f48e7dc849e37bfcf"
V6_CLIENT = "2001:db8:220:1:59de:d0f4:8769:82b8"


@pytest.mark.parametrize(
    ("secrets", "client", "now", "sent", "expected", "known"),
    [
        (
            SECRET,
            "198.51.100.100",
            1559731985,
            "2464c4abcf10c957",
            "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
            False,
        ),
        (
            SECRET,
            "198.51.100.100",
            1559734385,
            "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
            "2464c4abcf10c957010000005cf7a871d4a564a1442aca77",
            True,
        ),
        (
            f"{NEW}\n{OLD}\n",
            V6_CLIENT,
            1559741961,
            "22681ab97d52c298010000005cf7c57926556bd0934c72f8",
            "22681ab97d52c298010000005cf7c609a6bb79d16625507a",
            True,
        ),
    ],
)
def test_vectors(
    *, secrets: str, client: str, now: int, sent: str, expected: str, known: bool
) -> None:
    """RFC 9018, A.1, A.2 and A.4."""
    cookies = ServerCookies.parse(secrets)

    answer = cookies.answer(bytes.fromhex(sent), Address.parse(client).packed, now)

    assert (bytes.fromhex(expected), known) == answer


@pytest.mark.parametrize(
    ("age", "known", "same"),
    [
        (0, True, True),
        (1800, True, True),
        (1801, True, False),
        (3600, True, False),
        (3601, False, False),
        (-300, True, True),
        (-301, False, False),
    ],
)
def test_age(age: int, known: bool, same: bool) -> None:
    """RFC 9018, 4.3: good for an hour, five minutes ahead; renewed after half an hour."""
    cookies, client = ServerCookies.parse(SECRET), bytes(4)
    made, _ = cookies.answer(b"12345678", client, 1_800_000_000)

    answer, is_known = cookies.answer(made, client, 1_800_000_000 + age)

    assert (known, same) == (is_known, answer == made)


def test_another_client_is_not_known() -> None:
    """RFC 9018, 4.4: the client's address is hashed."""
    cookies = ServerCookies.parse(SECRET)
    made, _ = cookies.answer(b"12345678", bytes(4), 1_800_000_000)

    assert not cookies.answer(made, bytes([0, 0, 0, 1]), 1_800_000_000)[1]


@pytest.mark.parametrize("text", ["", "00", "zz" * 16, f"{SECRET}\n" * 4])
def test_wrong_secrets_are_refused(text: str) -> None:
    """None, too short, not hexadecimal, too many."""
    with pytest.raises(ValueError, match=r"expected|16 bytes"):
        ServerCookies.parse(text)
