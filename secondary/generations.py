"""Which generation of the replica is current, which is being made, and which can go."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from secondary.etcd import EtcdStore
from secondary.etcd_values import Comparison, Holds, Unchanged
from secondary.layout import Generation, Layout

# A claim goes with its lease: so long after its follower died, its generation can be deleted.
# Claims are kept alive every few seconds, and while etcd has no leader time stands still.
CLAIM_SECONDS: Final = 120
# How often, so that some of these may fail before the claim goes.
KEEP_SECONDS: Final = CLAIM_SECONDS / 6
TOKEN_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Served:
    """The generation that is current, and the comparison that holds while it is.

    Without a generation: nothing was ever loaded.
    """

    generation: Generation | None
    guard: Unchanged


@dataclass(frozen=True, slots=True)
class Claim:
    """A generation that one follower is making, and nobody reads yet."""

    generation: Generation
    guard: Holds
    lease: int


class Generations:
    """The generations of one replica."""

    def __init__(self, store: EtcdStore, layout: Layout) -> None:
        self._store = store
        self._layout = layout

    def served(self) -> Served:
        """Which generation readers are to load; NewerReplicaError: one of a newer version."""
        reading = self._store.get(self._layout.current)
        generation = self._layout.served(reading.value)
        return Served(generation, Unchanged(self._layout.current, reading.mod_revision))

    def claim(self) -> Claim:
        """A new generation for this follower alone; FenceLost if another was faster."""
        numbers = [generation.number for generation in self._existing()]
        current = self.served().generation
        if current is not None:
            numbers.append(current.number)
        generation = self._layout.generation(max(numbers, default=0) + 1)
        token = secrets.token_hex(TOKEN_BYTES).encode()
        lease = self._store.grant_lease(CLAIM_SECONDS)
        self._store.txn([Unchanged(generation.claim, 0)], [(generation.claim, token)], lease=lease)
        return Claim(generation, Holds(generation.claim, token), lease)

    def keep(self, claim: Claim) -> None:
        """Say that this follower is still at it; FenceLost if it was taken for dead."""
        self._store.keep_lease(claim.lease)

    def give_up(self, claim: Claim) -> None:
        """End a claim; what was written goes with the leftovers."""
        self._store.revoke_lease(claim.lease)

    def flip(self, claim: Claim, served: Served) -> Served:
        """Make the claimed generation the current one, in place of `served`.

        FenceLost if the claim has ended or another generation has become current meanwhile.
        """
        generation = claim.generation
        revision = self._store.txn(
            [claim.guard, served.guard],
            [(self._layout.current, generation.name)],
            [generation.claim],
        )
        return Served(generation, Unchanged(self._layout.current, revision))

    def leftovers(self) -> list[Generation]:
        """The generations that are not current and that nobody is making."""
        current = self.served().generation
        return [
            generation
            for generation in self._existing()
            if generation != current and self._store.get(generation.claim).value is None
        ]

    def delete(self, generation: Generation) -> Iterator[int]:
        """Delete a leftover, yielding how many keys after each step, so that etcd can breathe.

        FenceLost if it is current or claimed after all.
        """
        served = self.served()
        fence: list[Comparison] = [served.guard, Unchanged(generation.claim, 0)]
        if served.generation != generation:
            yield from self._store.delete_prefix(generation.prefix, fence)

    def _existing(self) -> Iterator[Generation]:
        """Every generation of which there is a key."""
        start, end = self._layout.generations
        while (key := self._store.first_key(start, end)) is not None:
            generation = self._layout.generation_of(key)
            if generation is None:
                start = key + b"\0"
            else:
                yield generation
                start = generation.end
