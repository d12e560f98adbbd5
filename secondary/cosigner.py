"""The mirror's own word: its key, and the last checkpoint that it cosigned, both on disk.

A cosignature leaves this machine only after the note that carries it is on disk in place of the
one before, and only if the log went on from that one. So whatever is killed, and however the
replica is made anew, this key never vouches for two histories, nor for less than it did.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from node.errors import ConfigurationError, StorageError
from node.failpoints import failpoint
from node.files import read_private, write_atomic
from registry.checkpoint import Checkpoint, sign_checkpoint
from registry.cosigning import Cosigned, check_next, cosigner_name, open_cosigned, sign_for
from registry.errors import MalformedError, VerificationError
from registry.merkle import EMPTY_ROOT
from registry.note import CosignatureVerifier, Cosigner, Signer
from registry.tiles import TileReader

KEY_NAME = "cosigner.key"
NOTE_NAME = "cosigned"


class MirrorCosigner:
    """Cosigns for one node; any thread may. One process at a time uses its directory."""

    def __init__(
        self, directory: Path, origin: str, node: str, clock: Callable[[], float] = time.time
    ) -> None:
        """Read the key and the last note; make them where there are none.

        `clock` gives seconds since 1970. ConfigurationError: a key without its note, with which
        nothing may be signed any more; or the key of another node or log. StorageError.
        """
        self._clock = clock
        self._path = directory / NOTE_NAME
        self._lock = threading.Lock()
        key_path, name = directory / KEY_NAME, cosigner_name(origin, node)
        if not key_path.exists():
            self._begin(key_path, Cosigner.generate(name), origin)
        self._key = _load_key(key_path, name)
        self._last = self._read(key_path)

    @property
    def verifier(self) -> CosignatureVerifier:
        """The public half of the key."""
        return self._key.verifier()

    @property
    def last(self) -> Cosigned:
        """What was cosigned last; a log of size 0 before the first."""
        return self._last

    def cosign(self, note: bytes, checkpoint: Checkpoint, tiles: TileReader) -> Cosigned:
        """The note with this mirror's word, which is on disk when this returns.

        The caller has verified the note, and stored the log of its checkpoint durably, with these
        tiles. SequenceError, ForkError, ProofError: as of `check_next`. StorageError: the disk
        refuses, and nothing was said.
        """
        with self._lock:
            check_next(self._last, note, checkpoint, tiles)
            cosigned = sign_for(note, self._key, int(self._clock()))
            failpoint("cosign.before_store")
            write_atomic(self._path, cosigned.note)
            failpoint("cosign.after_store")
            self._last = cosigned
        return cosigned

    def _begin(self, key_path: Path, key: Cosigner, origin: str) -> None:
        """The note first: a key never stands without one."""
        if self._path.exists():
            raise ConfigurationError(
                f"{key_path} is missing beside {self._path}: put it back; or, to go on under a new "
                f"key, remove {self._path} too, and have the primary forget the old key"
            )
        key_path.parent.mkdir(parents=True, exist_ok=True)
        # No log has signed the empty checkpoint; its cosigner's signature is all that counts.
        empty = sign_checkpoint(Checkpoint(origin, 0, EMPTY_ROOT), Signer.generate(origin))
        write_atomic(self._path, sign_for(empty, key, 0).note)
        write_atomic(key_path, f"{key.to_text()}\n".encode())

    def _read(self, key_path: Path) -> Cosigned:
        try:
            return open_cosigned(self._path.read_bytes(), self._key.verifier())
        except FileNotFoundError:
            raise ConfigurationError(
                f"{self._path} is missing: what {key_path} has vouched for is not known, so it may "
                "sign no more; put the file back, or remove the key too, to go on under a new one"
            ) from None
        except OSError as error:
            raise StorageError(f"cannot read {self._path}: {error.strerror or error}") from error
        except VerificationError as error:
            raise ConfigurationError(
                f"{self._path} is not what {key_path} wrote ({error}): put the file back, or "
                "remove both, to go on under a new key"
            ) from None


def _load_key(path: Path, name: str) -> Cosigner:
    try:
        key = Cosigner.from_text(read_private(path).decode().removesuffix("\n"))
    except (UnicodeDecodeError, MalformedError) as error:
        raise ConfigurationError(f"{path} is no cosigner's key: {error}") from None
    if key.name != name:
        raise ConfigurationError(f"{path} is the key of {key.name}, not of {name}")
    return key
