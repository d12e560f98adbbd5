"""Under which names of the set its mirrors stand: spread over operators and regions, few moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from registry.member import MAX_ADDRESSES_PER_PLACE, Announced


@dataclass(frozen=True, slots=True)
class Standing:
    """A mirror of the set: what it announced, and the names it has stood under so far."""

    announced: Announced
    places: tuple[str, ...] = ()


@dataclass(slots=True)
class _Plan:
    """Who stands under each name."""

    standings: Mapping[str, Standing]
    at: dict[str, list[str]]
    moved: set[str] = field(default_factory=set)

    def has_room(self, place: str, name: str) -> bool:
        """Whether the name's answers hold the mirror's addresses of both families too."""
        together = [*self.at[place], name]
        for family in (4, 6):
            count = sum(
                one.family == family
                for each in together
                for one in self.standings[each].announced.addresses
            )
            if count > MAX_ADDRESSES_PER_PLACE:
                return False
        return True

    def cost(self, place: str, name: str) -> tuple[int, int, int, str]:
        """How ill the mirror fits under a name: who else of its operator and region is there."""
        mine = self.standings[name].announced
        others = [self.standings[each].announced for each in self.at[place]]
        same_operator = sum(bool(mine.operator) and one.operator == mine.operator for one in others)
        same_region = sum(bool(mine.region) and one.region == mine.region for one in others)
        return same_operator, len(others) + same_region, len(others), place


def place(standings: Mapping[str, Standing], places: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The names that each mirror stands under from now on; none for whom there is no room.

    Who stands somewhere stays there, but for one that moves to a name that would be empty. With
    fewer mirrors than names, some stand under several.
    """
    plan = _Plan(standings, {each: [] for each in places})
    for name in sorted(standings):
        for former in standings[name].places[:1]:
            if former in plan.at and plan.has_room(former, name):
                plan.at[former].append(name)
    settled = {name for names in plan.at.values() for name in names}
    for name in sorted(set(standings) - settled):
        free = [each for each in places if plan.has_room(each, name)]
        if free:
            plan.at[min(free, key=lambda each, name=name: plan.cost(each, name))].append(name)  # type: ignore[misc]
    _fill_empty(plan)
    return {
        name: tuple(each for each in _own_first(plan, name) if name in plan.at[each])
        for name in standings
    }


def _fill_empty(plan: _Plan) -> None:
    for empty in [each for each, names in plan.at.items() if not names]:
        largest = max(plan.at, key=lambda each: len(plan.at[each]))
        if len(plan.at[largest]) > 1:
            # The one that leaves the others best spread; of equals the last.
            mover = max(
                plan.at[largest],
                key=lambda name: (plan.cost(largest, name)[:2], name),
            )
            plan.at[largest].remove(mover)
            plan.at[empty].append(mover)
        elif plan.at[largest]:
            # Nobody to spare: who stands under fewest names helps out.
            count = {
                name: sum(name in names for names in plan.at.values()) for name in plan.standings
            }
            placed = [name for name, names in count.items() if names]
            plan.at[empty].append(min(placed, key=lambda name: (count[name], name)))


def _own_first(plan: _Plan, name: str) -> list[str]:
    """The names in their order, the mirror's own before those where it helps out."""
    former = plan.standings[name].places[:1]
    return sorted(plan.at, key=lambda each: (each not in former, each))
