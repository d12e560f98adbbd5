"""The one decision behind the policy service and the filters."""

from __future__ import annotations

from dataclasses import dataclass

from policyd.decision import Client, Outcome, Policy
from policyd.guard import Guard
from policyd.lookups import Lookups
from policyd.metrics import PolicydMetrics
from registry.address import Address


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a message, and the address that it hung on, if it did."""

    outcome: Outcome
    address: Address | None = None


ACCEPTED = Decision(Outcome.ACCEPT)


class Judge:
    """Decides about clients; never raises because of DNS."""

    def __init__(
        self, policy: Policy, lookups: Lookups, guard: Guard, metrics: PolicydMetrics
    ) -> None:
        self.policy = policy
        self._lookups = lookups
        self._guard = guard
        # A child a label, looked up once.
        self._counters = {outcome: metrics.outcomes.labels(outcome.value) for outcome in Outcome}

    def at_once(self, client: Client) -> Decision | None:
        """The decision, where DNS need not be asked for it; else None."""
        address = self.policy.subject(client)
        if address is None:
            return self._counted(ACCEPTED)
        finding = self._lookups.cached(address)
        if finding is None:
            return None
        outcome = self.policy.outcome(finding, is_trusted=self._guard.is_trusted)
        return self._counted(Decision(outcome, address))

    async def decide(self, client: Client) -> Decision:
        """The decision, within the time limit of lookups."""
        address = self.policy.subject(client)
        if address is None:
            return self._counted(ACCEPTED)
        finding = await self._lookups.find(address)
        outcome = self.policy.outcome(finding, is_trusted=self._guard.is_trusted)
        return self._counted(Decision(outcome, address))

    def _counted(self, decision: Decision) -> Decision:
        self._counters[decision.outcome].inc()
        return decision
