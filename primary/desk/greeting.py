"""Reads what a mail server says when one connects to it (RFC 5321, 4.3.1), and leaves."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from registry.address import Address

SMTP_PORT: Final = 25
# RFC 5321, 4.5.3.2.1 grants a greeting five minutes; who waits for this is a person.
GREETING_SECONDS: Final = 30.0
# RFC 5321, 4.5.3.1.5: 512 octets a line; greetings of more lines are known to hold off spammers.
MAX_LINE_BYTES: Final = 512
MAX_LINES: Final = 20


@dataclass(frozen=True, slots=True)
class Greeting:
    """What was said, None if nothing was, and why not."""

    text: str | None
    detail: str = ""


async def read_greeting(address: Address, port: int, seconds: float = GREETING_SECONDS) -> Greeting:
    """The greeting at the address, all its lines as one; it never raises."""
    where = f"port {port} of {address}"
    try:
        async with asyncio.timeout(seconds):
            return await _read(address, port, where)
    except TimeoutError:
        return Greeting(None, f"{where} says nothing in {seconds:g} s")
    except (OSError, ValueError) as error:
        return Greeting(None, f"{where} cannot be reached: {_text(error)}")


async def _read(address: Address, port: int, where: str) -> Greeting:
    reader, writer = await asyncio.open_connection(str(address), port, limit=MAX_LINE_BYTES)
    try:
        lines: list[str] = []
        for _ in range(MAX_LINES):
            line = (await reader.readline()).decode("utf-8", "replace").strip()
            if not line[:3].isdigit():
                return Greeting(None, f"{where} speaks no SMTP")
            lines.append("".join(c if c.isprintable() else "?" for c in line[4:]))
            if line[3:4] != "-":
                break
        if line[:3] == "220":
            writer.write(b"QUIT\r\n")
        return Greeting(" ".join(lines))
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def _text(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
