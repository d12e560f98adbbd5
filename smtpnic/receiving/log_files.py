"""The mail logs of this machine: plain, rotated, compressed, or in the journal."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

from node.errors import ConfigurationError
from smtpnic.receiving.mail_log import EXIM_PROGRAMS, SENDMAIL_PROGRAMS

PATTERNS: Final = (
    "/var/log/mail.log*",
    "/var/log/maillog*",
    "/var/log/exim4/mainlog*",
    "/var/log/exim/main.log*",
)
JOURNAL_SUFFIX: Final = ".journal"
PROGRAMS: Final = (
    *("postfix/smtpd", "postfix/submission/smtpd", "postfix/submissions/smtpd"),
    "postfix/smtps/smtpd",
    *SENDMAIL_PROGRAMS,
    *EXIM_PROGRAMS,
)
_OPENERS: Final[dict[str, Callable[[BinaryIO], BinaryIO]]] = {
    ".gz": lambda raw: cast("BinaryIO", gzip.GzipFile(fileobj=raw)),
    ".xz": lambda raw: cast("BinaryIO", lzma.LZMAFile(raw)),  # noqa: SIM115 - its user closes it
    ".bz2": lambda raw: cast("BinaryIO", bz2.BZ2File(raw)),
}
# A longer line is none of a mail server's; it is read in parts.
MAX_LINE_CHARACTERS: Final = 65536

Advance = Callable[[int], None]


def find_logs() -> list[Path]:
    """The log files of mail servers on this machine, the oldest first."""
    found = {path for pattern in PATTERNS for path in Path("/").glob(pattern.lstrip("/"))}
    return sorted((path for path in found if path.is_file()), key=lambda path: path.stat().st_mtime)


def read_lines(path: Path, advance: Advance) -> Iterator[str]:
    """The lines of one file; `advance` hears how many bytes of the file were read since.

    ConfigurationError when it cannot be read, or is not what its name says.
    """
    try:
        with path.open("rb") as raw, _opened(path, raw) as file:
            before = 0
            text = io.TextIOWrapper(file, encoding="utf-8", errors="replace")
            while line := text.readline(MAX_LINE_CHARACTERS):
                yield line.rstrip("\n")
                position = raw.tell()
                if position != before:
                    advance(position - before)
                    before = position
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from error


@contextmanager
def _opened(path: Path, raw: BinaryIO) -> Iterator[BinaryIO]:
    opener = _OPENERS.get(path.suffix)
    if opener is None:
        yield raw
        return
    with opener(raw) as file:
        yield file


def journal_lines(days: int, file: Path | None = None) -> Iterator[str]:
    """The lines that mail servers wrote to systemd's journal, this machine's or one in a file.

    ConfigurationError without one.
    """
    command = ["journalctl", "--quiet", "-o", "short-iso-precise", f"--since=-{days}d"]
    command += [part for program in PROGRAMS for part in ("-t", program)]
    if file is not None:
        command.append(f"--file={file}")
    try:
        with subprocess.Popen(  # noqa: S603 - a fixed command
            command, stdout=subprocess.PIPE, text=True, errors="replace"
        ) as process:
            yield from (line.rstrip("\n") for line in process.stdout or ())
        if process.returncode:
            raise ConfigurationError(f"journalctl ended with {process.returncode}")
    except OSError as error:
        raise ConfigurationError(f"journalctl: {error.strerror or error}") from error
