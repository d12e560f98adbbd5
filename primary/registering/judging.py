"""The conditions, one function each: what was observed in, a finding out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from primary.registering.dynamic_names import looks_dynamic
from primary.registering.findings import Condition, Finding, Verdict
from primary.registering.proof_records import (
    domain_record_name,
    holder_text,
    is_ours,
    names_holder,
    names_key,
    networks_of,
    pointer_name,
    recovery_text,
)
from registry.address import Address
from registry.names import is_within
from registry.observations import Agreed, Outcome

_TRY_AGAIN = "try again in some minutes; if it stays so, look at your name servers"


@dataclass(frozen=True, slots=True)
class Subject:
    """Who registers what."""

    holder_id: bytes
    address: Address
    host: str
    domain: str


@dataclass(frozen=True, slots=True)
class AddressSigns:
    """What shows that the address is the holder's: any one of them does.

    `connected`: a connection with the token came from the address; `greeting`: what its port 25
    says, None if it says nothing, and `greeting_detail` why; `networks`: the TXT records of the
    networks around it, as `networks_of` names them.
    """

    token: str
    connected: bool
    greeting: str | None
    greeting_detail: str
    networks: Sequence[Agreed]


def judge_ptr(subject: Subject, answer: Agreed) -> Finding:
    """The address's PTR record gives the host name."""
    name = pointer_name(subject.address)
    expected = f"{name} PTR {subject.host}"
    note = looks_dynamic(subject.host, subject.address)
    if note:
        note = f"{note}: receivers may take it for a dynamic address"
    if answer.outcome is Outcome.FAILED:
        return Finding(
            Condition.PTR, Verdict.UNKNOWN, answer.detail, expected, _TRY_AGAIN, note=note
        )
    if subject.host in answer.values:
        notes = [note, _dnssec(answer)]
        return Finding(
            Condition.PTR, Verdict.HELD, expected, expected, note="; ".join(filter(None, notes))
        )
    found = f"PTR {_list(answer)}" if answer.values else f"no PTR record at {name}"
    mend = (
        f"ask whoever gave you the address to set the PTR record of {subject.address} to "
        f"{subject.host}, or register the name that it has"
    )
    return Finding(Condition.PTR, Verdict.FAILED, found, expected, mend, note)


def judge_forward(subject: Subject, answer: Agreed) -> Finding:
    """The host name leads back to the address."""
    type_ = "A" if subject.address.family == 4 else "AAAA"
    expected = f"{subject.host} {type_} {subject.address}"
    if answer.outcome is Outcome.FAILED:
        return Finding(Condition.FORWARD, Verdict.UNKNOWN, answer.detail, expected, _TRY_AGAIN)
    if str(subject.address) in answer.values:
        return Finding(Condition.FORWARD, Verdict.HELD, expected, expected, note=_dnssec(answer))
    found = f"{type_} {_list(answer)}" if answer.values else f"no {type_} record at {subject.host}"
    mend = f"add to the zone: {subject.host}. {type_} {subject.address}"
    return Finding(Condition.FORWARD, Verdict.FAILED, found, expected, mend)


def judge_zone(subject: Subject, own_zones: Sequence[str]) -> Finding:
    """The name is the registrant's own, and not one that the registry itself makes."""
    expected = f"a name outside of {', '.join(own_zones)}"
    within = [zone for zone in own_zones if is_within(subject.host, zone)]
    if not within:
        return Finding(Condition.ZONE, Verdict.HELD, subject.host, expected)
    mend = "give the mail server a name in a domain of your own"
    found = f"{subject.host} is within {within[0]}"
    return Finding(Condition.ZONE, Verdict.FAILED, found, expected, mend)


def judge_domain(subject: Subject, answer: Agreed) -> Finding:
    """The domain's TXT record names the holder."""
    wanted = holder_text(subject.holder_id)
    held = any(names_holder(text, subject.holder_id) for text in answer.values)
    return _judge_record(subject.domain, wanted, answer, held=held)


def judge_recovery(domain: str, holder_id: bytes, key_hash: bytes, answer: Agreed) -> Finding:
    """The domain's TXT record gives the holder the new key."""
    wanted = recovery_text(holder_id, key_hash)
    held = any(names_key(text, holder_id, key_hash) for text in answer.values)
    return _judge_record(domain, wanted, answer, held=held)


def _judge_record(domain: str, wanted: str, answer: Agreed, *, held: bool) -> Finding:
    name = domain_record_name(domain)
    expected = f'{name} TXT "{wanted}"'
    if held:
        return Finding(Condition.DOMAIN, Verdict.HELD, expected, expected, note=_dnssec(answer))
    if answer.outcome is Outcome.FAILED:
        return Finding(Condition.DOMAIN, Verdict.UNKNOWN, answer.detail, expected, _TRY_AGAIN)
    ours = sorted(text for text in answer.values if is_ours(text))
    found = f'TXT "{ours[0]}"' if ours else f"no such record at {name}"
    mend = f'add to the zone: {name}. TXT "{wanted}"'
    return Finding(Condition.DOMAIN, Verdict.FAILED, found, expected, mend)


def judge_address(subject: Subject, signs: AddressSigns) -> Finding:
    """The address is the holder's: by a connection from it, its greeting, or its reverse zone."""
    address, token = subject.address, signs.token
    expected = (
        f"a connection from {address}, or {token} in the greeting of its port 25, or a TXT record "
        "in its reverse zone"
    )
    if signs.connected:
        return _held_address(f"a connection from {address}", expected)
    if signs.greeting is not None and token in signs.greeting.split():
        return _held_address(f"{token} in the greeting of {address}", expected)
    for network, answer in zip(networks_of(address), signs.networks, strict=False):
        if any(names_holder(text, subject.holder_id) for text in answer.values):
            return _held_address(f"TXT at {network.name} for {network.prefix}", expected)
    found = signs.greeting_detail
    if signs.greeting is not None:
        found = f"the greeting is {signs.greeting!r}"
    found = "; ".join([found, *_of_networks(address, signs.networks)])
    mend = (
        f"run on that machine: smtpnic prove {address} --token {token}; or put {token} into the "
        f"greeting of port 25 as a word of its own; or, for the whole network, add a TXT record "
        f'"{holder_text(subject.holder_id)}" at {networks_of(address)[1].name}'
    )
    # What a name server did not say may be what shows it.
    is_told = all(answer.outcome is not Outcome.FAILED for answer in signs.networks)
    verdict = Verdict.FAILED if is_told else Verdict.UNKNOWN
    return Finding(Condition.ADDRESS, verdict, found, expected, mend)


def _of_networks(address: Address, answers: Sequence[Agreed]) -> Iterator[str]:
    """What stands at the networks' names and does not show it; where nothing could be told."""
    for network, answer in zip(networks_of(address), answers, strict=False):
        ours = sorted(text for text in answer.values if is_ours(text))
        if ours:
            yield f'TXT "{ours[0]}" at {network.name}'
        elif answer.outcome is Outcome.FAILED:
            yield f"{network.name}: {answer.detail}"


def _held_address(found: str, expected: str) -> Finding:
    return Finding(Condition.ADDRESS, Verdict.HELD, found, expected)


def judge_email(email: str, *, confirmed: bool, sent: bool, can_send: bool) -> Finding:
    """Somebody who reads that mailbox has confirmed it; `sent`: the letter is on its way."""
    expected = f"the link in the letter to {email} is followed"
    if confirmed:
        return Finding(Condition.EMAIL, Verdict.HELD, f"{email} is confirmed", expected)
    if not can_send:
        found = "this registry cannot send mail at present"
        return Finding(Condition.EMAIL, Verdict.UNKNOWN, found, expected, "ask its operator")
    if not sent:
        found = "no letter is sent before the rest holds"
        return Finding(Condition.EMAIL, Verdict.FAILED, found, expected, "do the rest first")
    mend = "read the letter, spam folder included, and follow the link or run the command in it"
    return Finding(Condition.EMAIL, Verdict.FAILED, "not confirmed yet", expected, mend)


def _list(answer: Agreed) -> str:
    return ", ".join(sorted(answer.values))


def _dnssec(answer: Agreed) -> str:
    """What is worth knowing of DNSSEC (RFC 4035): a name that is signed is harder to take away."""
    if answer.authenticated:
        return "DNSSEC: signed and validated"
    return "DNSSEC: not signed, or not validated by every resolver"
