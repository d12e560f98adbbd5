"""A snapshot whose digest is right and one of whose records is not what the registry signed."""

from __future__ import annotations

import threading
from hashlib import sha256
from pathlib import Path

from registry.snapshot import DIGEST_BYTES
from secondary.etcd import EtcdStore
from secondary.follower import Follower
from secondary.follower_status import Phase, StatusBoard
from secondary.log_tiles import LogTiles
from secondary.sections import EtcdSettings, FollowerSettings
from secondary.settings import SecondarySettings
from tests.support.boards import roots_of
from tests.support.etcd import running_etcd
from tests.support.fake_upstream import FakeUpstream
from tests.support.log_builder import LogBuilder
from tests.support.wait import wait_until

SECONDS = 20.0


def test_a_changed_record_is_not_kept(tmp_path: Path) -> None:
    """The file is thrown away, so that the true one of the same name and size is fetched (P2)."""
    log = LogBuilder()
    log.put_holder()
    log.commit()
    log.fill(100)
    upstream = FakeUpstream(log)
    # What is sent to whoever lacks so much is the true file, under the same name.
    upstream.stream_limit = 50
    needed = upstream.make_snapshot()
    content = upstream.snapshots[needed.name][:-DIGEST_BYTES].replace(b"mail7.", b"male7.")
    upstream.snapshots[needed.name] = content + sha256(content).digest()
    upstream.inject(lambda: needed)
    with running_etcd(tmp_path) as etcd:
        settings = SecondarySettings(
            name="m",
            upstream="127.0.0.1:1",  # type: ignore[arg-type]
            data_dir=tmp_path / "data",
            etcd=EtcdSettings(endpoints=(etcd.endpoint,)),
            follower=FollowerSettings(retry_seconds=0.05, max_retry_seconds=0.2),
        )
        store, board = EtcdStore([etcd.endpoint]), StatusBoard()
        tiles = LogTiles(settings.tiles_dir)
        follower = Follower(settings, store, upstream, tiles, board, roots=roots_of(log))
        thread = threading.Thread(target=follower.run)
        thread.start()
        try:
            wait_until(
                lambda: board.now.size == log.size and board.now.phase is Phase.FOLLOWING,
                seconds=SECONDS,
                what=f"the true snapshot to be served; {board.now}",
            )
        finally:
            follower.stop()
            thread.join(SECONDS)
            tiles.close()
            store.close()
    assert upstream.offsets == [0, 0]
