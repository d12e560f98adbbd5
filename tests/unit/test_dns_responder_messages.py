"""The responder and the form of messages: header, EDNS, truncation, and what is no query."""

from __future__ import annotations

import struct

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondary.dns.reply import Transport
from tests.support.responding import (
    CLIENT,
    RESPONDER,
    V4,
    ask,
    exchange,
    make_responder,
    three_zones,
)
from tests.support.views import NOW_S


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
        responder = make_responder(zones=three_zones(servers))
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
        responder = make_responder(zones=three_zones(servers))
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

        assert RESPONDER.answer(query.to_wire(), Transport.UDP, NOW_S, CLIENT) is None

    @pytest.mark.parametrize("wire", [b"", b"\x00" * 11])
    def test_too_short_for_a_header_is_silence(self, wire: bytes) -> None:
        """Nothing says whom to answer."""
        assert RESPONDER.answer(wire, Transport.UDP, NOW_S, CLIENT) is None

    @pytest.mark.parametrize("opcode", [dns.opcode.STATUS, dns.opcode.NOTIFY, dns.opcode.UPDATE])
    def test_other_opcodes_are_not_implemented(self, opcode: dns.opcode.Opcode) -> None:
        """NOTIMP, the opcode echoed."""
        wire = bytearray(dns.message.make_query(V4, "A").to_wire())
        wire[2] |= opcode << 3

        answer = RESPONDER.answer(bytes(wire), Transport.UDP, NOW_S, CLIENT)

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

        answer = RESPONDER.answer(header + question, Transport.UDP, NOW_S, CLIENT)

        assert struct.pack("!HHHHHH", 0x1234, 0x8101, 0, 0, 0, 0) == answer

    def test_a_name_of_255_bytes_is_still_a_name(self) -> None:
        """The longest name there can be is answered."""
        long = ".".join(["a" * 63, "a" * 63, "a" * 63, "a" * (254 - 3 * 64 - 17)])

        assert dns.rcode.NXDOMAIN == ask(f"{long}.smtpnic.example.").rcode()


@given(st.binary(max_size=600))
def test_any_bytes_are_answered_or_not_and_nothing_else(wire: bytes) -> None:
    """No datagram makes the responder fail; an answer repeats the identifier and is a response."""
    answer = RESPONDER.answer(wire, Transport.UDP, NOW_S, CLIENT)

    assert answer is None or (wire[:2] == answer[:2] and answer[2] & 0x80)


@given(st.data())
def test_a_damaged_query_never_gives_an_unreadable_answer(data: st.DataObject) -> None:
    """Whatever is changed in a good query, the answer parses."""
    wire = bytearray(dns.message.make_query(V4, "A", use_edns=0, want_dnssec=True).to_wire())
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(4, len(wire) - 1))] = data.draw(st.integers(0, 255))

    answer = RESPONDER.answer(bytes(wire), Transport.UDP, NOW_S, CLIENT)

    assert answer is not None
    assert len(answer) <= 1232
    dns.message.from_wire(answer)
