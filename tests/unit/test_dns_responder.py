"""The responder: bytes in, bytes out, judged by dnspython, which has no line of it."""

from __future__ import annotations

import struct

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.kinds import Status
from secondary.dns.reply import Transport
from secondary.dns.responder import Responder
from secondary.dns.table import DictTable
from secondary.dns.zone import Zone, ZoneNames
from tests.support.views import NOW_S, put_registration, registration, standing

ZONE = Zone(
    ZoneNames(
        "smtpnic.example",
        ("a.ns.nic.example", "b.ns.nic.example"),
        "hostmaster.smtpnic.example",
    )
)
DAY_S = 86400
MAX_SILENCE_SECONDS = 14 * DAY_S
V4 = "192-0-2-36.smtpnic.example."
V6 = "2001-0db8-0000-0000-0000-0000-0000-0036.smtpnic.example."


def loaded_table() -> DictTable:
    table = DictTable()
    put_registration(table, "192.0.2.36", registration())
    put_registration(table, "192.0.2.37", registration(Status.ACTIVE))
    put_registration(table, "192.0.2.38", registration(Status.SUSPENDED))
    put_registration(table, "192.0.2.39", registration(Status.LAPSED))
    put_registration(table, "2001:db8::36", registration())
    table.advance(standing(serial=7))
    return table


TABLE = loaded_table()
RESPONDER = Responder(ZONE, lambda: TABLE, max_silence_seconds=MAX_SILENCE_SECONDS)
NEVER_LOADED = Responder(ZONE, lambda: None, max_silence_seconds=MAX_SILENCE_SECONDS)


def exchange(
    query: dns.message.Message | bytes,
    *,
    responder: Responder = RESPONDER,
    transport: Transport = Transport.UDP,
    now: float = NOW_S,
) -> dns.message.Message:
    """The parsed answer; there must be one."""
    wire = query if isinstance(query, bytes) else query.to_wire()
    answer = responder.answer(wire, transport, now)
    assert answer is not None
    return dns.message.from_wire(answer)


def ask(name: str, type_: str = "A", **how: object) -> dns.message.Message:
    """The answer to a plain question, checked to belong to it."""
    query = dns.message.make_query(name, type_)
    response = exchange(query, **how)  # type: ignore[arg-type]
    assert query.is_response(response)
    return response


def texts(response: dns.message.Message) -> list[str]:
    return [rrset.to_text() for rrset in response.answer]


def extended_error(response: dns.message.Message) -> int:
    (error,) = response.extended_errors()
    return int(error.code)


SOA = (
    "smtpnic.example. 60 IN SOA a.ns.nic.example. hostmaster.smtpnic.example. 7 3600 600 1209600 60"
)


class TestRegisteredNames:
    def test_an_ipv4_address_answers_with_itself(self) -> None:
        """The A record at the dashed name is the address, for five minutes, authoritative."""
        response = ask(V4)

        assert [f"{V4} 300 IN A 192.0.2.36"] == texts(response)
        assert dns.rcode.NOERROR == response.rcode()
        assert response.flags & dns.flags.AA

    def test_an_ipv6_address_answers_with_itself(self) -> None:
        """The AAAA record at the dashed name is the address."""
        assert [f"{V6} 300 IN AAAA 2001:db8::36"] == texts(ask(V6, "AAAA"))

    def test_text_tells_what_a_machine_wants_to_know(self) -> None:
        """The TXT record gives the day, the status and the host."""
        text = '"v=smtpnic1; since=2026-11-23; status=new; host=mail.example.org"'

        assert [f"{V4} 300 IN TXT {text}"] == texts(ask(V4, "TXT"))

    def test_a_long_host_fits_in_two_strings(self) -> None:
        """A text of more than 255 bytes is cut into character-strings, none of it lost."""
        label = "a" * 63
        host = ".".join([label, label, label, "b" * 20, "example.org"])
        table = DictTable()
        put_registration(table, "192.0.2.1", registration(host=host))
        table.advance(standing())
        responder = Responder(ZONE, lambda: table, max_silence_seconds=MAX_SILENCE_SECONDS)

        response = ask("192-0-2-1.smtpnic.example.", "TXT", responder=responder)

        strings = response.answer[0][0].strings
        assert 2 == len(strings)
        assert b"".join(strings).endswith(f"host={host}".encode())

    def test_an_active_registration_is_listed_too(self) -> None:
        """New and active differ in the text alone."""
        name = "192-0-2-37.smtpnic.example."

        assert [f"{name} 300 IN A 192.0.2.37"] == texts(ask(name))
        assert "status=active;" in texts(ask(name, "TXT"))[0]

    @pytest.mark.parametrize("last", ["38", "39"])
    def test_suspended_and_lapsed_do_not_exist(self, last: str) -> None:
        """A receiver sees NXDOMAIN for what is not in good standing."""
        response = ask(f"192-0-2-{last}.smtpnic.example.")

        assert dns.rcode.NXDOMAIN == response.rcode()

    @pytest.mark.parametrize("type_", ["AAAA", "MX", "NS", "SOA", "CAA", "TYPE65280"])
    def test_other_types_are_nodata(self, type_: str) -> None:
        """A registered name exists: other types are NOERROR, empty, with the SOA."""
        response = ask(V4, type_)

        assert dns.rcode.NOERROR == response.rcode()
        assert [] == response.answer
        assert [SOA] == [rrset.to_text() for rrset in response.authority]
        assert response.flags & dns.flags.AA

    def test_any_gets_one_record_set(self) -> None:
        """ANY is answered minimally (RFC 8482)."""
        assert [f"{V4} 300 IN A 192.0.2.36"] == texts(ask(V4, "ANY"))
        assert [SOA] == texts(ask("smtpnic.example.", "ANY"))

    def test_letter_case_does_not_matter_and_is_echoed(self) -> None:
        """Names are compared without case and come back as they were asked (0x20)."""
        wire = dns.message.make_query("192-0-2-36.SmTpNiC.eXaMpLe.", "A").to_wire()

        answer = RESPONDER.answer(wire, Transport.UDP, NOW_S)

        assert answer is not None
        end = 12 + len("192-0-2-36.SmTpNiC.eXaMpLe.") + 1 + 4
        assert wire[12:end] == answer[12:end]
        owner = dns.message.from_wire(answer).answer[0].name
        assert "192-0-2-36.SmTpNiC.eXaMpLe." == owner.to_text()

    def test_upper_case_hexadecimal_digits_find_an_ipv6_name(self) -> None:
        """The digits of an IPv6 label are letters too."""
        assert dns.rcode.NOERROR == ask(V6.upper(), "AAAA").rcode()


class TestAbsentNames:
    @pytest.mark.parametrize(
        "name",
        [
            "192-0-2-99",
            "192-0-2-036",
            "192-0-2",
            "192.0.2.36",
            "2001-db8-0-0-0-0-0-36",
            "www",
            "*",
            "x.192-0-2-36",
            r"\000\255",
        ],
    )
    def test_what_is_not_registered_does_not_exist(self, name: str) -> None:
        """NXDOMAIN, kept for a minute at most, for all that is not exactly a registered name."""
        response = ask(f"{name}.smtpnic.example.")

        assert dns.rcode.NXDOMAIN == response.rcode()
        assert [] == response.answer
        assert [SOA] == [rrset.to_text() for rrset in response.authority]
        assert response.flags & dns.flags.AA

    @pytest.mark.parametrize("name", ["example.", "nic.example.", "xsmtpnic.example.", "."])
    def test_names_outside_are_refused(self, name: str) -> None:
        """REFUSED with EDE 20, not authoritative."""
        query = dns.message.make_query(name, "A", use_edns=0)

        response = exchange(query)

        assert dns.rcode.REFUSED == response.rcode()
        assert not response.flags & dns.flags.AA
        assert 20 == extended_error(response)

    def test_other_classes_are_refused(self) -> None:
        """The zone is of class IN alone."""
        query = dns.message.make_query(V4, "A", dns.rdataclass.CH)

        assert dns.rcode.REFUSED == exchange(query).rcode()

    @pytest.mark.parametrize("type_", [251, 252])
    def test_zone_transfer_is_refused(self, type_: int) -> None:
        """AXFR and IXFR get REFUSED with EDE 18."""
        query = dns.message.make_query("smtpnic.example.", "A", use_edns=0).to_wire()
        end = 12 + len("smtpnic.example.") + 1
        query = query[:end] + struct.pack("!H", type_) + query[end + 2 :]

        answer = RESPONDER.answer(query, Transport.TCP, NOW_S)

        assert answer is not None
        assert dns.rcode.REFUSED == answer[3] & 0xF
        assert struct.pack("!H", 18) in answer


class TestApex:
    def test_soa_carries_the_serial_of_the_state(self) -> None:
        """The SOA's serial is the registry's; its TTL and MINIMUM are a minute."""
        assert [SOA] == texts(ask("smtpnic.example.", "SOA"))

    def test_name_servers(self) -> None:
        """All name servers are given."""
        response = ask("smtpnic.example.", "NS")

        (rrset,) = response.answer
        assert {"a.ns.nic.example.", "b.ns.nic.example."} == {str(data) for data in rrset}

    def test_nobody_may_issue_certificates(self) -> None:
        """CAA forbids issuance for the whole zone."""
        assert ['smtpnic.example. 300 IN CAA 0 issue ";"'] == texts(ask("smtpnic.example.", "CAA"))

    def test_text_and_nodata(self) -> None:
        """There is a text; there is no address."""
        assert "v=smtpnic1" in texts(ask("smtpnic.example.", "TXT"))[0]
        response = ask("smtpnic.example.", "A")
        assert (dns.rcode.NOERROR, []) == (response.rcode(), response.answer)

    def test_name_servers_inside_the_zone_are_refused_at_the_start(self) -> None:
        """The zone could not give their addresses."""
        with pytest.raises(ValueError, match="inside"):
            ZoneNames("smtpnic.example", ("ns.smtpnic.example",), "hostmaster.smtpnic.example")


class TestFailureIsNoAnswer:
    @pytest.mark.parametrize("name", [V4, "192-0-2-99.smtpnic.example.", "smtpnic.example."])
    def test_never_loaded_is_servfail(self, name: str) -> None:
        """P3: before anything is loaded every name of the zone is SERVFAIL with EDE 14."""
        query = dns.message.make_query(name, "A", use_edns=0)

        response = exchange(query, responder=NEVER_LOADED)

        assert dns.rcode.SERVFAIL == response.rcode()
        assert not response.flags & dns.flags.AA
        assert 14 == extended_error(response)

    def test_never_loaded_still_refuses_what_is_not_ours(self) -> None:
        """Outside the zone nothing has to be loaded to know it."""
        assert dns.rcode.REFUSED == ask("example.", responder=NEVER_LOADED).rcode()

    def test_weeks_without_the_registry_are_survived(self) -> None:
        """P7: until the limit, answers are as ever."""
        assert dns.rcode.NOERROR == ask(V4, now=NOW_S + MAX_SILENCE_SECONDS).rcode()

    @pytest.mark.parametrize("name", [V4, "192-0-2-99.smtpnic.example."])
    def test_beyond_the_limit_is_servfail(self, name: str) -> None:
        """P7: after it, SERVFAIL with EDE 24, for registered names and others."""
        query = dns.message.make_query(name, "A", use_edns=0)

        response = exchange(query, now=NOW_S + MAX_SILENCE_SECONDS + 1)

        assert dns.rcode.SERVFAIL == response.rcode()
        assert 24 == extended_error(response)

    def test_without_edns_no_extended_error(self) -> None:
        """A server that did not ask with EDNS gets no OPT record, whatever the error."""
        query = dns.message.make_query(V4, "A", use_edns=False)

        response = exchange(query, responder=NEVER_LOADED)

        assert dns.rcode.SERVFAIL == response.rcode()
        assert -1 == response.edns


class TestEdns:
    def test_offers_1232_bytes_to_whoever_asks_with_edns(self) -> None:
        """The OPT of the answer offers 1232 bytes and repeats DO."""
        query = dns.message.make_query(V4, "A", use_edns=0, want_dnssec=True, payload=4096)

        response = exchange(query)

        assert (0, 1232) == (response.edns, response.payload)
        assert response.ednsflags & dns.flags.DO

    def test_unknown_options_and_flags_are_ignored(self) -> None:
        """RFC 6891, 6.1.2: they change nothing and are not sent back."""
        option = dns.edns.GenericOption(dns.edns.OptionType.make(65001), b"abc")
        query = dns.message.make_query(V4, "A", use_edns=0, ednsflags=0x0001, options=[option])

        response = exchange(query)

        assert dns.rcode.NOERROR == response.rcode()
        assert () == tuple(response.options)
        assert 0 == response.ednsflags & 0xFFFF

    def test_a_newer_version_is_badvers(self) -> None:
        """RFC 6891, 6.1.3: BADVERS, and the version that is spoken here."""
        query = dns.message.make_query(V4, "A", use_edns=1)

        response = exchange(query)

        assert dns.rcode.BADVERS == response.rcode()
        assert (0, []) == (response.edns, response.answer)

    def test_what_does_not_fit_is_truncated(self) -> None:
        """More than 512 bytes without EDNS: TC, nothing of the answer; over TCP all of it."""
        servers = tuple(f"{number:063}.ns.nic.example" for number in range(10))
        zone = Zone(ZoneNames("smtpnic.example", servers, "hostmaster.smtpnic.example"))
        responder = Responder(zone, lambda: TABLE, max_silence_seconds=MAX_SILENCE_SECONDS)
        query = dns.message.make_query("smtpnic.example.", "NS", use_edns=False)

        cut = exchange(query, responder=responder)
        whole = exchange(query, responder=responder, transport=Transport.TCP)

        assert cut.flags & dns.flags.TC
        assert ([], query.question) == (cut.answer, cut.question)
        assert not whole.flags & dns.flags.TC
        assert 10 == len(whole.answer[0])

    @pytest.mark.parametrize(("payload", "truncated"), [(100, True), (900, False), (65535, False)])
    def test_the_payload_size_counts(self, payload: int, truncated: bool) -> None:
        """What the client takes, from 512 up, bounds a datagram."""
        servers = tuple(f"{number:063}.ns.nic.example" for number in range(8))
        zone = Zone(ZoneNames("smtpnic.example", servers, "hostmaster.smtpnic.example"))
        responder = Responder(zone, lambda: TABLE, max_silence_seconds=MAX_SILENCE_SECONDS)
        query = dns.message.make_query("smtpnic.example.", "NS", use_edns=0, payload=payload)

        response = exchange(query, responder=responder)

        assert truncated == bool(response.flags & dns.flags.TC)
        assert 0 == response.edns

    def test_two_opt_records_are_a_format_error(self) -> None:
        """RFC 6891, 6.1.1."""
        wire = bytearray(dns.message.make_query(V4, "A", use_edns=0).to_wire())
        wire += wire[-11:]
        wire[11] = 2

        assert dns.rcode.FORMERR == exchange(bytes(wire)).rcode()


class TestHeader:
    def test_a_response_is_never_answered(self) -> None:
        """Two servers must not be led into answering each other."""
        query = dns.message.make_query(V4, "A")
        query.flags |= dns.flags.QR

        assert RESPONDER.answer(query.to_wire(), Transport.UDP, NOW_S) is None

    @pytest.mark.parametrize("wire", [b"", b"\x00" * 11])
    def test_too_short_for_a_header_is_silence(self, wire: bytes) -> None:
        """Nothing says whom to answer."""
        assert RESPONDER.answer(wire, Transport.UDP, NOW_S) is None

    @pytest.mark.parametrize("opcode", [dns.opcode.STATUS, dns.opcode.NOTIFY, dns.opcode.UPDATE])
    def test_other_opcodes_are_not_implemented(self, opcode: dns.opcode.Opcode) -> None:
        """NOTIMP, the opcode echoed."""
        wire = bytearray(dns.message.make_query(V4, "A").to_wire())
        wire[2] |= opcode << 3

        answer = RESPONDER.answer(bytes(wire), Transport.UDP, NOW_S)

        assert answer is not None
        assert wire[:2] == answer[:2]
        assert (dns.rcode.NOTIMP, opcode) == (answer[3] & 0xF, answer[2] >> 3 & 0xF)

    def test_rd_and_cd_come_back_and_ra_does_not(self) -> None:
        """RD and CD are copied, AD and RA are off."""
        query = dns.message.make_query(V4, "A")
        query.flags = dns.flags.RD | dns.flags.CD | dns.flags.AD

        flags = exchange(query).flags

        assert dns.flags.QR | dns.flags.AA | dns.flags.RD | dns.flags.CD == flags

    @pytest.mark.parametrize("questions", [0, 2])
    def test_not_one_question_is_a_format_error(self, questions: int) -> None:
        """RFC 9619."""
        wire = bytearray(dns.message.make_query(V4, "A").to_wire())
        wire[5] = questions

        response = exchange(bytes(wire))

        assert dns.rcode.FORMERR == response.rcode()

    @pytest.mark.parametrize(
        "question",
        [
            b"",
            b"\x03abc",
            b"\xc0\x0c\x00\x01\x00\x01",
            b"\x40" + b"a" * 64 + b"\x00\x00\x01\x00\x01",
            (b"\x3f" + b"a" * 63) * 4 + b"\x00\x00\x01\x00\x01",
            b"\x00\x00\x29\x00\x01",
        ],
        ids=["nothing", "cut off", "pointer", "reserved label", "256 bytes", "OPT asked"],
    )
    def test_a_broken_question_is_a_format_error(self, question: bytes) -> None:
        """FORMERR, a bare header that repeats the identifier."""
        header = struct.pack("!HHHHHH", 0x1234, 0x0100, 1, 0, 0, 0)

        answer = RESPONDER.answer(header + question, Transport.UDP, NOW_S)

        assert struct.pack("!HHHHHH", 0x1234, 0x8101, 0, 0, 0, 0) == answer

    def test_a_name_of_255_bytes_is_still_a_name(self) -> None:
        """The longest name there can be is answered."""
        long = ".".join(["a" * 63, "a" * 63, "a" * 63, "a" * (254 - 3 * 64 - 17)])

        assert dns.rcode.NXDOMAIN == ask(f"{long}.smtpnic.example.").rcode()


@given(st.binary(max_size=600))
def test_any_bytes_are_answered_or_not_and_nothing_else(wire: bytes) -> None:
    """No datagram makes the responder fail; an answer repeats the identifier and is a response."""
    answer = RESPONDER.answer(wire, Transport.UDP, NOW_S)

    assert answer is None or (wire[:2] == answer[:2] and answer[2] & 0x80)


@given(st.data())
def test_a_damaged_query_never_gives_an_unreadable_answer(data: st.DataObject) -> None:
    """Whatever is changed in a good query, the answer parses."""
    wire = bytearray(dns.message.make_query(V4, "A", use_edns=0, want_dnssec=True).to_wire())
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(4, len(wire) - 1))] = data.draw(st.integers(0, 255))

    answer = RESPONDER.answer(bytes(wire), Transport.UDP, NOW_S)

    assert answer is not None
    assert len(answer) <= 1232
    dns.message.from_wire(answer)


@given(packed=st.binary(min_size=4, max_size=4))
def test_a_name_is_registered_exactly_when_its_address_is(packed: bytes) -> None:
    """NOERROR with the address for what is in the table, NXDOMAIN for the rest."""
    name = "-".join(str(octet) for octet in packed) + ".smtpnic.example."
    listed = packed in (bytes([192, 0, 2, 36]), bytes([192, 0, 2, 37]))

    assert listed == (ask(name).rcode() == dns.rcode.NOERROR)
