"""SMTP as bytes on a stream: command lines, replies, and the end of a message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

# RFC 5321, 4.5.3.1: lines have 1000 octets at most, with room for extensions and bad manners.
MAX_LINE_BYTES: Final = 16384
# A reply has some twenty lines, after EHLO.
MAX_REPLY_LINES: Final = 100
CHUNK_BYTES: Final = 65536
END_OF_DATA: Final = b"\r\n.\r\n"


class SmtpStream:
    """Reads lines, replies and messages from one side of a session; tells `heard` of each read."""

    def __init__(self, reader: asyncio.StreamReader, heard: Callable[[], None]) -> None:
        self._reader = reader
        self._heard = heard
        self._buffer = b""

    async def line(self) -> bytes:
        """One line with its end; empty when the stream has ended. ValueError if it is too long."""
        while b"\n" not in self._buffer:
            if len(self._buffer) > MAX_LINE_BYTES:
                raise ValueError(f"a line of more than {MAX_LINE_BYTES} bytes")
            chunk = await self._read()
            if not chunk:
                return b""
            self._buffer += chunk
        line, end, self._buffer = self._buffer.partition(b"\n")
        return line + end

    async def reply(self) -> list[bytes]:
        """All lines of one reply (RFC 5321, 4.2.1); empty when the stream has ended."""
        lines: list[bytes] = []
        while len(lines) < MAX_REPLY_LINES:
            line = await self.line()
            if not line:
                return []
            lines.append(line)
            if line[3:4] != b"-":
                return lines
        raise ValueError(f"a reply of more than {MAX_REPLY_LINES} lines")

    async def pass_message(self, writer: asyncio.StreamWriter) -> bool:
        """Passes a message on, its closing dot too, in parts; False if it never ended."""
        # The line end of DATA is the one before a dot that stands at once (RFC 5321, 4.1.1.4).
        seen = b"\r\n"
        while True:
            data, self._buffer = self._buffer, b""
            joined = seen + data
            end = joined.find(END_OF_DATA)
            if end >= 0:
                cut = end + len(END_OF_DATA) - len(seen)
                writer.write(data[:cut])
                self._buffer = data[cut:]
                await writer.drain()
                return True
            writer.write(data)
            await writer.drain()
            seen = joined[-len(END_OF_DATA) + 1 :]
            self._buffer = await self._read()
            if not self._buffer:
                return False

    async def _read(self) -> bytes:
        chunk = await self._reader.read(CHUNK_BYTES)
        self._heard()
        return chunk
