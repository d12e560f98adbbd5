"""Who a process is to its peers, in PEM files that may be replaced while it runs."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from node.certificates import Shown, show
from node.errors import ConfigurationError
from node.logging import get_logger
from node.times import time_text
from node.tls import Identity, read_certificates

_log = get_logger("certificates")


@dataclass(frozen=True, slots=True)
class Paths:
    """The files: the authority that peers are known by, and this process's certificate and key."""

    authority: Path
    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Material:
    """What the files held: `version` counts what was taken from them."""

    version: int
    authority: bytes
    identity: Identity

    @property
    def shown(self) -> Shown:
        """What the certificate says."""
        return show(self.identity.certificate)


class IdentityFiles:
    """The newest sound content of the files; any thread may ask.

    Others may write them at any time and one by one: what does not fit together yet is left
    alone, and looked at again.
    """

    def __init__(self, paths: Paths) -> None:
        """ConfigurationError when they cannot be used."""
        self.paths = paths
        self._lock = threading.Lock()
        self._stamps = self._stamp()
        self._material = self._read(1)
        # Why what stands in the files is not used; empty when it is.
        self.problem = ""

    @property
    def now(self) -> Material:
        """What was read last."""
        return self._material

    def look(self) -> Material:
        """What the files hold now, if they have changed and are sound; else as before."""
        with self._lock:
            stamps = self._stamp()
            if stamps != self._stamps or self.problem:
                self._take(stamps)
            return self._material

    def _take(self, stamps: tuple[object, ...]) -> None:
        try:
            material = self._read(self._material.version + 1)
        except ConfigurationError as error:
            if str(error) != self.problem:
                _log.warning("certificate.unusable", reason=str(error))
            self.problem = str(error)
            return
        self._stamps, self.problem = stamps, ""
        if _content(material) != _content(self._material):
            self._material = material
            _log.info("certificate.loaded", ends=time_text(material.shown.ends_ms))

    def _read(self, version: int) -> Material:
        paths = self.paths
        identity = Identity.load(paths.certificate, paths.key)
        return Material(version, read_certificates(paths.authority), identity)

    def _stamp(self) -> tuple[object, ...]:
        """What tells whether a file was written or replaced; links are followed."""
        found: list[object] = []
        for path in (self.paths.authority, self.paths.certificate, self.paths.key):
            try:
                status = path.stat()
            except OSError as error:
                found.append(error.errno)
            else:
                found.append((status.st_ino, status.st_mtime_ns, status.st_size))
        return tuple(found)


def _content(material: Material) -> tuple[object, ...]:
    return material.authority, material.identity.certificate, material.identity.key
