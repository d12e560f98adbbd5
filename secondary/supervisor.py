"""One machine's secondary: an etcd of its own, unless it was given one, and the role processes.

Children write to the same standard error. They end with the supervisor, even when that is
killed: whoever starts it again finds the directory free, and the data as it was.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from node.child import Child, ChildPlan
from node.errors import ConfigurationError
from node.logging import get_logger
from secondary import child_etcd
from secondary.directory_lock import DirectoryLock
from secondary.etcd import EtcdStore
from secondary.etcd_values import EtcdError
from secondary.preflight import Verdict, check_running, check_version, require
from secondary.settings import Role, SecondarySettings

LOCK_SECONDS: Final = 5.0
# Beyond the time in which a role drains, until it is killed.
GRACE_SECONDS: Final = 10.0
ETCD_STOP_SECONDS: Final = 20.0
# An etcd that does not answer by then gets its readers all the same; they wait for it.
ETCD_START_SECONDS: Final = 30.0
POLL_SECONDS: Final = 0.1

_log = get_logger("supervisor")


def run(settings: SecondarySettings, config: Path) -> None:
    """Keep everything running until SIGTERM or SIGINT; ConfigurationError if that cannot be."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Children inherit the lock: after a kill -9 it is free when the last of them has gone.
    with DirectoryLock(settings.data_dir / "supervisor.lock", LOCK_SECONDS) as lock:
        asyncio.run(_Supervisor(settings, config, lock.descriptor).run())


class _Supervisor:
    def __init__(self, settings: SecondarySettings, config: Path, lock: int) -> None:
        self._settings = settings
        self._config = config
        self._lock = lock
        self._ending = asyncio.Event()
        self._gave_up = ""

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ending.set)
        etcd = None if self._settings.etcd.endpoints else self._etcd()
        roles = {role: self._role(role) for role in self._settings.roles}
        try:
            if etcd is not None:
                etcd.start()
            waiting = dict(roles)
            if self._has_table_file():
                # It serves that while etcd is still starting.
                waiting.pop(Role.DNS).start()
            await self._check_etcd()
            if not self._ending.is_set():
                for child in waiting.values():
                    child.start()
            await self._ending.wait()
        finally:
            _log.info("supervisor.ending")
            await _stop(child for role, child in roles.items() if role is not Role.FOLLOWER)
            await _stop(child for role, child in roles.items() if role is Role.FOLLOWER)
            await _stop([etcd] if etcd else [])
        if self._gave_up:
            raise ConfigurationError(self._gave_up)

    def _has_table_file(self) -> bool:
        path = self._settings.dns_table_file
        return Role.DNS in self._settings.roles and path is not None and path.exists()

    def _etcd(self) -> Child:
        settings = self._settings
        require([check_version(child_etcd.installed_version(settings))])
        directory = settings.etcd_directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        plan = ChildPlan(
            "etcd",
            child_etcd.command(settings),
            child_etcd.environment(os.environ),
            directory,
            ETCD_STOP_SECONDS,
            (self._lock,),
            lambda: child_etcd.remove_sockets(settings),
        )
        return self._child(plan)

    def _role(self, role: Role) -> Child:
        # -P: nothing is imported from wherever this was started.
        command = [sys.executable, "-P", "-m", "secondary", role.value, "-c", str(self._config)]
        stop_seconds = self._settings.drain_seconds + GRACE_SECONDS
        return self._child(ChildPlan(role.value, command, os.environ, None, stop_seconds))

    def _child(self, plan: ChildPlan) -> Child:
        def give_up(code: int) -> None:
            self._gave_up = f"{plan.name} ended with {code}: see its message above"
            self._ending.set()

        return Child(plan, give_up)

    async def _check_etcd(self) -> None:
        """Wait until etcd answers, and see that it will do; ConfigurationError if it will not."""
        store = EtcdStore(self._settings.etcd_endpoints, self._settings.etcd.tls)
        deadline = asyncio.get_running_loop().time() + ETCD_START_SECONDS
        try:
            while not self._ending.is_set():
                try:
                    await asyncio.to_thread(self._preflight, store)
                    return
                except EtcdError as error:
                    if asyncio.get_running_loop().time() > deadline:
                        _log.warning("etcd.away", reason=str(error))
                        return
                await asyncio.sleep(POLL_SECONDS)
        finally:
            store.close()

    def _preflight(self, store: EtcdStore) -> None:
        """A version that loses data is refused; what else is wrong is said, and served through."""
        require([check_version(store.status().version)])
        for finding in check_running(store, self._settings):
            match finding.verdict:
                case Verdict.GOOD:
                    _log.debug("preflight", finding=finding.text)
                case Verdict.ADVICE:
                    _log.warning("preflight", finding=finding.text)
                case Verdict.BAD:
                    _log.error("preflight", finding=finding.text)


async def _stop(children: Iterable[Child]) -> None:
    await asyncio.gather(*(child.stop() for child in children))
