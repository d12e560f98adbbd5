# cython: language_level=3, boundscheck=True, wraparound=False, cdivision=True
"""The common query answered in place: bytes in, bytes out, no object made, no GIL held.

Whatever it answers, `secondary.dns.responder` would answer in the same bytes; what it does not
know it declines, and the responder is asked. No read of a query goes past its end: every one is
by way of `_pair`, or after a look at how many bytes are left.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from secondary.dns.compiled.facts cimport Facts
from secondary.dns.compiled.table cimport Block, CompiledTable

from secondary.dns.edns import extended_error_option
from secondary.dns.responder import NO_TRANSFER, OUTSIDE

# In one unit of C, so that the compiler sees all of it at once.
include "numbers.pxi"
include "query.pxi"
include "names.pxi"
include "reply.pxi"
include "siphash.pxi"
include "clients.pxi"
include "filling.pxi"


cdef class FastPath:
    """Answers from the zones and limits of one server; any number of threads may call it."""

    def __cinit__(self, zones, above, special, words, cookie_keys, limiter, *,
                  bint tells_nsid):
        """`zones`: FastZones, the longest origin first; `above`: names left to the responder;
        `special`: first and last of packed addresses that cannot be registered; `words`: the
        name of each status; `limiter`: the one that the responder's answers are counted by."""
        cdef bytes first, last, key
        self._zones_count = len(zones)
        self._special_count = len(special)
        self._secrets.count = len(cookie_keys)
        self._above_count = len(above)
        if (
            self._zones_count > MAX_ZONES
            or self._special_count > MAX_SPECIAL
            or self._above_count > MAX_ABOVE
        ):
            raise ValueError("too many zones, or names between them, or ranges of addresses")
        if not 0 < self._secrets.count <= MAX_KEYS:
            raise ValueError("too many secrets")
        for number, zone in enumerate(zones):
            _fill_zone(&self._zones[<int>number], zone)
        for number, name in enumerate(above):
            self._above[<int>number].size = len(name)
            _copy(self._above[<int>number].bytes, 256, name)
        for number, (first, last) in enumerate(special):
            _fill_range(&self._special[<int>number], first, last)
        for status, word in words.items():
            self._status_bytes[<int>status] = len(word)
            _copy(self._status_words[<int>status], 16, word)
        for number, key in enumerate(cookie_keys):
            _copy(self._secrets.keys[<int>number], 16, key)
        _copy(self._limits.key, 16, limiter.key)
        for number, cost_us in enumerate(limiter.costs_us):
            self._limits.costs_us[<int>number] = cost_us
        self._slots_view = limiter.slots
        self._limits.slots = &self._slots_view[0]
        self._limits.mask = len(limiter.slots) - 1
        self._tells_nsid = tells_nsid

    def answer_one(self, CompiledTable table not None, bytes wire not None,
                   bytes client not None, int64_t now_s, uint64_t now_us):
        """The answer to one query, empty for silence; None when the responder has to be asked."""
        cdef uint8_t out[OUT_BYTES]
        cdef Counts counts
        cdef const uint8_t* packed = client
        cdef const uint8_t* data = wire
        cdef Client who = Client(packed, len(client))
        memset(&counts, 0, sizeof(Counts))
        # As for one of a batch.
        cdef Block** expected = self.expect(table, data, len(wire))
        if expected != NULL:
            table.warm(expected)
        cdef Py_ssize_t size = self.answer(
            table, data, len(wire), &who, now_s, now_us, out, &counts
        )
        return None if size == DECLINED else (<char*>out)[:size]

    cdef Py_ssize_t answer(
        self, CompiledTable table, const uint8_t* wire, size_t size, const Client* client,
        int64_t now_s, uint64_t now_us, uint8_t* out, Counts* counts,
    ) noexcept nogil:
        """How many bytes of answer stand in `out`, of OUT_BYTES; or a Verdict.

        The table is read; who calls holds its lock.
        """
        cdef Query query
        cdef Answer answer
        cdef bint is_known = False
        cdef uint8_t cookie[24]
        cdef int kind
        if size < HEADER_BYTES or wire[2] & 0x80:
            counts.ignored += 1
            return SILENCE
        memset(&answer, 0, sizeof(Answer))
        answer.out = out
        query.wire, query.size = wire, size
        query.flags = _pair(wire, 2)
        if (query.flags >> 11) & 0xF:
            return self._finish_bare(&query, NOTIMP, client, now_us, out, counts)
        # A query without a question is for a cookie alone.
        if _pair(wire, 4) == 0:
            return DECLINED
        if not _parse(&query):
            return self._finish_bare(&query, FORMERR, client, now_us, out, counts)
        if query.wants_nsid and self._tells_nsid:
            return DECLINED
        _begin(&query, &answer)
        if query.has_edns and query.version != 0:
            answer.extended_rcode = 1
        elif not self._decide(table, &query, &answer):
            return DECLINED
        if query.cookie != NULL:
            is_known = _bake(&self._secrets, &query, client, now_s, cookie)
        return self._finish(&query, &answer, cookie, client, is_known, now_us, counts)

    cdef Block** expect(
        self, CompiledTable table, const uint8_t* wire, size_t size
    ) noexcept nogil:
        """What the answer to this query will be looked up in, if it is a common one; or NULL.

        It may be wrong, and then costs time: nothing is decided by it.
        """
        cdef uint8_t key[4]
        return table.expect(key, IPV4_BYTES) if _guess(wire, size, key) else NULL

    cdef bint _decide(
        self, CompiledTable table, Query* query, Answer* answer
    ) noexcept nogil:
        """Whether the answer is known here."""
        cdef Zone* zone
        cdef int below, number
        if query.class_ == CLASS_CHAOS:
            return False
        for number in range(self._above_count):
            if query.name_bytes == self._above[number].size and (
                memcmp(query.name, self._above[number].bytes, query.name_bytes) == 0
            ):
                return False
        zone = self._zone_of(query, &below)
        if zone == NULL or query.class_ != CLASS_IN:
            answer.rcode = REFUSED
            answer.extended_error, answer.extended_error_bytes = OUTSIDE_OPTION, OUTSIDE_BYTES
            return True
        if query.type == TYPE_AXFR or query.type == TYPE_IXFR:
            answer.rcode = REFUSED
            answer.extended_error, answer.extended_error_bytes = NO_TRANSFER_OPTION, NO_TRANSFER_BYTES
            return True
        # An apex, and where the servers are, have more records than are worth it.
        if below == 0 or zone.kind == KIND_SERVERS or not table.is_loaded:
            return False
        answer.is_authoritative = True
        if zone.kind == KIND_DASHED:
            self._answer_dashed(table, query, answer, below)
        elif zone.kind == KIND_LISTED:
            self._answer_listed(table, zone, query, answer, below)
        else:
            self._answer_unlisted(table, zone, query, answer, below)
        if not answer.has_answer:
            _absent(table, zone, query, answer)
        return True

    cdef Zone* _zone_of(self, Query* query, int* below) noexcept nogil:
        """The zone with the longest origin that the name ends in, and the labels before it."""
        cdef int number, label
        cdef size_t before
        cdef Zone* zone
        for number in range(self._zones_count):
            zone = &self._zones[number]
            if zone.origin_bytes > query.name_bytes:
                continue
            before = query.name_bytes - zone.origin_bytes
            if memcmp(query.name + before, zone.origin, zone.origin_bytes) != 0:
                continue
            for label in range(query.labels_count):
                if query.labels[label] == before:
                    below[0] = label
                    return zone
        return NULL

    cdef void _answer_dashed(
        self, CompiledTable table, Query* query, Answer* answer, int below
    ) noexcept nogil:
        cdef uint8_t key[16]
        cdef size_t width
        cdef uint32_t found
        answer.rcode = NXDOMAIN
        if below != 1:
            return
        width = _parse_dashed(query.name + 1, query.name[0], key)
        if width == 0 or not table.look_up(key, width, &found):
            return
        answer.rcode = NOERROR
        if query.type == TYPE_TXT:
            self._add_facts(answer, table, found)
        elif query.type == TYPE_ANY or query.type == (
            TYPE_A if width == IPV4_BYTES else TYPE_AAAA
        ):
            _add_record(answer, TYPE_A if width == IPV4_BYTES else TYPE_AAAA, NAME_TTL, key, width)

    cdef void _answer_listed(
        self, CompiledTable table, Zone* zone, Query* query, Answer* answer, int below
    ) noexcept nogil:
        cdef uint8_t key[16]
        cdef uint8_t first[16]
        cdef uint8_t last[16]
        cdef uint32_t found
        cdef size_t width = _parse_reversed(query, below, key)
        if width and not _is(key, width, NEVER_IPV4, NEVER_IPV6):
            if _is(key, width, ALWAYS_IPV4, ALWAYS_IPV6):
                _add_listed(query, answer, NAME_TTL, zone.text, zone.text_bytes)
                return
            if table.look_up(key, width, &found):
                if query.type == TYPE_TXT:
                    self._add_facts(answer, table, found)
                else:
                    _add_listed(query, answer, NAME_TTL, zone.text, zone.text_bytes)
                return
        if _octets_above(query, below, first, last) and (
            table.any_between(first, last, IPV4_BYTES)
            or _is_between(ALWAYS_IPV4, first, last, IPV4_BYTES)
        ):
            return
        if _nibbles_above(query, below, first, last) and (
            table.any_between(first, last, IPV6_BYTES)
            or _is_between(ALWAYS_IPV6, first, last, IPV6_BYTES)
        ):
            return
        answer.rcode = NXDOMAIN

    cdef void _answer_unlisted(
        self, CompiledTable table, Zone* zone, Query* query, Answer* answer, int below
    ) noexcept nogil:
        cdef uint8_t key[16]
        cdef uint8_t first[16]
        cdef uint8_t last[16]
        cdef uint32_t found
        cdef size_t width = _parse_reversed(query, below, key)
        if width and (
            _is(key, width, ALWAYS_IPV4, ALWAYS_IPV6)
            or not (self._is_special(key, width) or table.look_up(key, width, &found))
        ):
            _add_listed(query, answer, UNLISTED_TTL, zone.text, zone.text_bytes)
            return
        if not (
            _octets_above(query, below, first, last) or _nibbles_above(query, below, first, last)
        ):
            answer.rcode = NXDOMAIN

    cdef bint _is_special(self, const uint8_t* key, size_t width) noexcept nogil:
        cdef int number
        for number in range(self._special_count):
            if self._special[number].width == width and _is_between(
                key, self._special[number].first, self._special[number].last, width
            ):
                return True
        return False

    cdef void _add_facts(
        self, Answer* answer, CompiledTable table, uint32_t found
    ) noexcept nogil:
        """The TXT of a listing: at most 56 bytes and a host name of 253."""
        cdef Facts facts
        cdef uint8_t text[512]
        cdef uint8_t data[512]
        cdef size_t size = 0, written = 0, part
        table.tell(found, &facts)
        cdef uint8_t word = facts.status & 0xF
        size = _append(text, size, <const uint8_t*>b"v=smtpnic1; since=", 18)
        size = _append_date(text, size, facts.since_day)
        size = _append(text, size, <const uint8_t*>b"; status=", 9)
        size = _append(text, size, self._status_words[word], self._status_bytes[word])
        size = _append(text, size, <const uint8_t*>b"; host=", 7)
        size = _append(text, size, facts.host, facts.host_bytes)
        cdef size_t done = 0
        while done < size:
            part = min(size - done, <size_t>255)
            data[written] = <uint8_t>part
            memcpy(data + written + 1, text + done, part)
            written += part + 1
            done += part
        _add_record(answer, TYPE_TXT, NAME_TTL, data, written)

    cdef Py_ssize_t _finish_bare(
        self, Query* query, int rcode, const Client* client, uint64_t now_us, uint8_t* out,
        Counts* counts,
    ) noexcept nogil:
        """A header alone."""
        memset(out, 0, HEADER_BYTES)
        memcpy(out, query.wire, 2)
        _put_pair(out + 2, 0x8000 | (query.flags & 0x7910) | rcode)
        if not _admits(&self._limits, client, ERROR, now_us):
            counts.limited[<int>ERROR] += 1
            out[2] |= 0x02
        counts.answered[<int>TYPES - 1][rcode] += 1
        return HEADER_BYTES

    cdef Py_ssize_t _finish(
        self, Query* query, Answer* answer, const uint8_t* cookie, const Client* client,
        bint is_known, uint64_t now_us, Counts* counts,
    ) noexcept nogil:
        """Header and OPT; TC where the answer is too long, or the limit was reached."""
        cdef uint8_t* out = answer.out
        cdef uint8_t opt[128]
        cdef size_t opt_bytes = _make_opt(query, answer, cookie, opt)
        cdef size_t limit = PLAIN_UDP_BYTES
        cdef uint16_t flags = 0x8000 | (query.flags & 0x7910) | answer.rcode
        cdef int kind
        if query.has_edns:
            limit = min(max(query.payload_bytes, PLAIN_UDP_BYTES), EDNS_UDP_BYTES)
        if answer.is_authoritative:
            flags |= 0x0400
        cdef bint is_whole = answer.size + opt_bytes <= limit
        if answer.rcode == NXDOMAIN:
            kind = NEGATIVE
        elif answer.rcode != NOERROR:
            kind = ERROR
        else:
            kind = POSITIVE if answer.has_answer and is_whole else NEGATIVE
        if not is_known and not _admits(&self._limits, client, kind, now_us):
            counts.limited[kind] += 1
            is_whole = False
        memset(out, 0, HEADER_BYTES)
        memcpy(out, query.wire, 2)
        out[5] = 1
        if is_whole:
            out[7] = answer.has_answer
            out[9] = answer.has_authority
        else:
            flags |= 0x0200
            answer.size = HEADER_BYTES + query.question_bytes
        _put_pair(out + 2, flags)
        if query.has_edns:
            out[11] = 1
            memcpy(out + answer.size, opt, opt_bytes)
            answer.size += opt_bytes
        counts.answered[_column(query.type)][answer.rcode] += 1
        return answer.size
