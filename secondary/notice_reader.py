"""A reader's side of the notice beside the replica: read from etcd, verified, remembered."""

from __future__ import annotations

from node.logging import get_logger
from registry.checkpoint import CheckpointKeys
from registry.errors import VerificationError
from secondary.etcd import EtcdStore
from secondary.layout import Layout
from secondary.notice import NOTHING, Knowledge, learn

_log = get_logger("notice")


class NoticeReader:
    """One thread looks, any may ask what is known."""

    def __init__(self, store: EtcdStore, layout: Layout, keys: CheckpointKeys) -> None:
        self._store = store
        self._layout = layout
        self._keys = keys
        self._seen = b""
        # What the follower has told all readers, as far as it is proved.
        self.known: Knowledge = NOTHING

    def look(self) -> None:
        """Read it again; EtcdError. What proves nothing changes nothing, and is said."""
        value = self._store.get(self._layout.notice).value or b""
        if value == self._seen:
            return
        self._seen = value
        try:
            self.known = learn(value, self._keys) if value else NOTHING
        except VerificationError as error:
            _log.error("notice.refused", reason=str(error))
        else:
            _log.warning("notice.changed", forked=self.known.is_forked, size=self.known.size)
