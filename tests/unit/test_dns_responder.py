"""The responder: what is registered, what is not, the apex, and when it has no answer."""

from __future__ import annotations

import struct

import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secondary.dns.reply import Transport
from secondary.dns.table import DictTable
from secondary.dns.zone import ZoneNames
from tests.support.responding import (
    CLIENT,
    NEVER_LOADED,
    RESPONDER,
    V4,
    V6,
    ask,
    exchange,
    extended_error,
    make_responder,
    texts,
)
from tests.support.views import NOW_S, put_registration, registration, standing

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
        responder = make_responder(table)

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

        answer = RESPONDER.answer(wire, Transport.UDP, NOW_S, CLIENT)

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

        answer = RESPONDER.answer(query, Transport.TCP, NOW_S, CLIENT)

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

    def test_without_edns_no_extended_error(self) -> None:
        """A server that did not ask with EDNS gets no OPT record, whatever the error."""
        query = dns.message.make_query(V4, "A", use_edns=False)

        response = exchange(query, responder=NEVER_LOADED)

        assert dns.rcode.SERVFAIL == response.rcode()
        assert -1 == response.edns


@given(packed=st.binary(min_size=4, max_size=4))
def test_a_name_is_registered_exactly_when_its_address_is(packed: bytes) -> None:
    """NOERROR with the address for what is in the table, NXDOMAIN for the rest."""
    name = "-".join(str(octet) for octet in packed) + ".smtpnic.example."
    listed = packed in (bytes([192, 0, 2, 36]), bytes([192, 0, 2, 37]))

    assert listed == (ask(name).rcode() == dns.rcode.NOERROR)
