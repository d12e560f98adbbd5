"""A reader's side of what stands beside the replica: read from etcd, verified, remembered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from node.logging import get_logger
from registry.errors import VerificationError
from registry.staleness import open_extension
from secondary.etcd import EtcdStore
from secondary.layout import Layout
from secondary.notice import NOTHING, Knowledge, learn
from secondary.roots import Roots

_log = get_logger("notice")


class NoticeReader:
    """One thread looks, any may ask what is known."""

    def __init__(
        self, store: EtcdStore, layout: Layout, roots: Roots, extension_file: Path | None = None
    ) -> None:
        """An extension of staleness is also read from a file, once: etcd may be away."""
        self._store = store
        self._layout = layout
        self._roots = roots
        self._notice = b""
        # With the root that it was looked at by: it is good under the newest alone.
        self._extension: tuple[bytes, int] = b"", 0
        # What the follower has told all readers, and an operator, as far as it is proved.
        self.known: Knowledge = NOTHING
        if extension_file is not None:
            self._look_at_file(extension_file)

    def look(self) -> None:
        """Read them again; EtcdError. What proves nothing changes nothing, and is said."""
        self._look_at_notice(self._store.get(self._layout.notice).value or b"")
        extension = self._store.get(self._layout.extension).value
        if extension is not None:
            self._look_at_extension(extension)

    def _look_at_notice(self, value: bytes) -> None:
        if value == self._notice:
            return
        self._notice = value
        try:
            learnt = learn(value, self._roots) if value else NOTHING
        except VerificationError as error:
            _log.error("notice.refused", reason=str(error))
        else:
            self.known = replace(learnt, answers_until_s=self.known.answers_until_s)
            _log.warning("notice.changed", forked=learnt.is_forked, size=learnt.size)

    def _look_at_file(self, path: Path) -> None:
        try:
            self._look_at_extension(path.read_bytes())
        except FileNotFoundError:
            return
        except OSError as error:
            _log.error("extension.unreadable", file=str(path), reason=error.strerror)

    def _look_at_extension(self, value: bytes) -> None:
        chain = self._roots.chain
        if (value, chain.version) == self._extension:
            return
        self._extension = value, chain.version
        try:
            until_s = open_extension(value, chain)
        except VerificationError as error:
            until_s = 0
            _log.error("extension.refused", reason=str(error))
        else:
            _log.warning("extension.taken", until_s=until_s)
        self.known = replace(self.known, answers_until_s=until_s)
