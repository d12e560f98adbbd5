"""The steps of a recovery, from mirrors' exports to a primary that starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.errors import ConfigurationError
from node.files import write_atomic
from node.scaffold import DIRECTORY_MODE, PUBLIC_MODE
from node.tile_files import TileFiles
from primary.board_changes import PublishRoot
from primary.checkpoint_file import CheckpointFile
from primary.clock import clock_ms
from primary.keys import Keys
from primary.log_signer import LogSigner
from primary.membership.roll import Roll
from primary.membership.values import HOUR_MS
from primary.opening import open_sequencer
from primary.recovery import Exported, Recovered, recover, roots_in, survey
from primary.rules import Policy
from primary.settings import PrimarySettings
from primary.signing_keys import SigningKeys, check_keys, load_keys
from primary.store.errors import StoreUnavailableError
from primary.store.store import Store
from registry.errors import Problem
from registry.note import encode_base64

# For mirrors that the backup's roll does not know, or that are away: they come by themselves.
ADOPTION_MS: Final = 7 * 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Surveyed:
    """What the mirrors hold, the most first; and the newest root that any of them knows."""

    exports: list[Exported]
    root_file: Path

    def advice(self, keys: SigningKeys, log_key: str) -> Iterator[str]:
        """What the board has to sign before the log goes on."""
        most = self.exports[0]
        yield f"smtpnic --root {self.root_file} board propose-root next-root.note \\"
        yield f"  --retire-log-keys-at {most.size} \\"
        yield f"  --anchor {most.size}:{encode_base64(most.root)} \\"
        yield f"  --add-log-key '{log_key}' \\"
        yield f"  --freshness-key '{keys.freshness.verifier().vkey()}'"


def replace_keys(settings: PrimarySettings) -> Keys:
    """Fresh signing keys, where none are. ConfigurationError: nothing is overwritten."""
    for path in (settings.log_key_file, settings.freshness_key_file):
        if path.exists():
            raise ConfigurationError(f"{path} exists: move it away first")
    keys = Keys.generate(settings.origin)
    keys.save(settings.log_key_file, settings.freshness_key_file)
    return keys


def survey_exports(settings: PrimarySettings, directories: Sequence[Path]) -> Surveyed:
    """What mirrors exported, verified; errors as of `survey`."""
    signer = load_keys(settings).log
    chain = signer.chain.extend_all(
        [note for directory in directories for note in roots_in(directory)]
    )
    exports = survey(directories, chain)
    root_file = settings.root_file.with_name(f"root-{chain.version}.note")
    write_atomic(root_file, chain.notes[-1], PUBLIC_MODE)
    return Surveyed(exports, root_file)


def recover_primary(
    settings: PrimarySettings, directories: Sequence[Path], root: Path, backup: str
) -> Recovered:
    """Rebuilds the database from the export that is furthest, and puts the next root into it.

    Errors as of `survey` and `recover`; Problem "board": the root does not fit.
    """
    keys = load_keys(settings)
    notes = [note for directory in directories for note in roots_in(directory)]
    signer = LogSigner(keys.log.signers, keys.log.chain.extend_all([*notes, root.read_bytes()]))
    exports = survey(directories, signer.chain)
    check_keys(SigningKeys(signer, keys.freshness), exports[0].size)
    settings.data_dir.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    kept = Store(backup) if backup else None
    checkpoint_file = CheckpointFile(settings.checkpoint_file)
    with closing(Store(settings.store_url)) as store:
        tiles = TileFiles(settings.tiles_dir)
        done = recover(exports[0], signer, store, checkpoint_file, tiles, backup=kept)
    if kept is not None:
        kept.close()
    _restore_roll(settings, backup)
    _publish(settings, signer, signer.chain.notes[-1])
    return done


def _restore_roll(settings: PrimarySettings, backup: str) -> None:
    """Who followed goes on: by the backup's roll, and whoever is not on it by its certificate."""
    with closing(Roll(settings.store_url)) as roll:
        roll.adopt_until(clock_ms() + ADOPTION_MS)
        if backup:
            # One of an older program has no roll.
            with closing(Roll(backup)) as kept, suppress(StoreUnavailableError):
                roll.put_all(kept.nodes())


def publish_root(settings: PrimarySettings, root: Path) -> int:
    """Puts the next root into the log of a primary that does not run; its index.

    Problem "board": it does not fit; errors as of `open_sequencer`.
    """
    keys = load_keys(settings)
    with closing(Store(settings.store_url)) as store:
        keys.log.restore(store.reader)
    note = root.read_bytes()
    return _publish(settings, LogSigner(keys.log.signers, keys.log.chain.extend_all([note])), note)


def _publish(settings: PrimarySettings, signer: LogSigner, note: bytes) -> int:
    with closing(Store(settings.store_url)) as store:
        file = CheckpointFile(settings.checkpoint_file)
        policy = Policy(lab=settings.lab)
        with closing(open_sequencer(store, signer, file, policy, clock_ms)) as sequencer:
            (committed,) = sequencer.commit([PublishRoot(note)])
    (outcome,) = committed.outcomes
    if isinstance(outcome, Problem):
        raise outcome
    return outcome
