# cython: language_level=3, boundscheck=True, wraparound=False, cdivision=True
"""The common query answered in place: bytes in, bytes out, no object made, no GIL held.

Whatever it answers, `secondary.dns.responder` would answer in the same bytes; what it does not
know it declines, and the responder is asked. No read of a query goes past its end: every one is
by way of `_byte` and `_pair`, or after a look at how many bytes are left.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from secondary.dns.compiled.facts cimport Facts
from secondary.dns.compiled.table cimport Block, CompiledTable

from secondary.dns.edns import extended_error_option
from secondary.dns.responder import NO_TRANSFER, OUTSIDE

cdef enum:
    HEADER_BYTES = 12
    MAX_NAME_BYTES = 255
    MAX_LABEL_BYTES = 63
    MAX_LABELS = 128
    MAX_RECORDS = 8
    PLAIN_UDP_BYTES = 512
    EDNS_UDP_BYTES = 1232
    IPV4_BYTES = 4
    IPV6_BYTES = 16
    IPV4_PREFIX_BYTES = 3
    IPV6_PREFIX_BYTES = 7
    BURST_US = 1000000
    CLIENT_COOKIE_BYTES = 8
    SERVER_COOKIE_BYTES = 16
    RENEW_S = 1800
    OLDEST_S = 3600
    FUTURE_S = 300
    MAX_ERROR_BYTES = 80
    NAME_TTL = 300
    UNLISTED_TTL = 60

cdef enum:
    NOERROR = 0
    FORMERR = 1
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5

cdef enum:
    TYPE_A = 1
    TYPE_TXT = 16
    TYPE_AAAA = 28
    TYPE_OPT = 41
    TYPE_IXFR = 251
    TYPE_AXFR = 252
    TYPE_ANY = 255

cdef enum:
    CLASS_IN = 1
    CLASS_CHAOS = 3

cdef enum:
    OPTION_NSID = 3
    OPTION_COOKIE = 10

cdef enum:
    POSITIVE = 0
    NEGATIVE = 1
    ERROR = 2

cdef enum:
    KIND_DASHED = 0
    KIND_LISTED = 1
    KIND_UNLISTED = 2

# RFC 5782, 5.
cdef uint8_t* ALWAYS_IPV4 = b"\x7f\0\0\2"
cdef uint8_t* NEVER_IPV4 = b"\x7f\0\0\1"
cdef uint8_t* ALWAYS_IPV6 = b"\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\2"
cdef uint8_t* NEVER_IPV6 = b"\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\1"

# Options of the OPT record, whole.
cdef bytes _OUTSIDE = extended_error_option(*OUTSIDE.extended_error)
cdef bytes _NO_TRANSFER = extended_error_option(*NO_TRANSFER.extended_error)
cdef const uint8_t* OUTSIDE_OPTION = _OUTSIDE
cdef size_t OUTSIDE_BYTES = len(_OUTSIDE)
cdef const uint8_t* NO_TRANSFER_OPTION = _NO_TRANSFER
cdef size_t NO_TRANSFER_BYTES = len(_NO_TRANSFER)
if max(OUTSIDE_BYTES, NO_TRANSFER_BYTES) > MAX_ERROR_BYTES:
    raise ValueError("an extended error is too long")


cdef class FastPath:
    """Answers from the zones and limits of one server; any number of threads may call it."""

    def __cinit__(self, zones, above, special, words, cookie_keys, limiter, *,
                  bint tells_nsid, max_silence_seconds):
        """`zones`: FastZones, the longest origin first; `above`: names left to the responder;
        `special`: first and last of packed addresses that cannot be registered; `words`: the
        name of each status; `limiter`: the one that the responder's answers are counted by."""
        cdef bytes first, last, key
        self._zones_count = len(zones)
        self._special_count = len(special)
        self._keys_count = len(cookie_keys)
        self._above_count = len(above)
        if (
            self._zones_count > MAX_ZONES
            or self._special_count > MAX_SPECIAL
            or self._above_count > MAX_ABOVE
        ):
            raise ValueError("too many zones, or names between them, or ranges of addresses")
        if not 0 < self._keys_count <= MAX_KEYS:
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
            _copy(self._keys[<int>number], 16, key)
        _copy(self._limiter_key, 16, limiter.key)
        for number, cost_us in enumerate(limiter.costs_us):
            self._costs_us[<int>number] = cost_us
        self._slots_view = limiter.slots
        self._slots = &self._slots_view[0]
        self._mask = len(limiter.slots) - 1
        self._tells_nsid = tells_nsid
        # More than a century is for ever.
        self._max_silence_s = <int64_t>min(max_silence_seconds, 1e10)

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
        elif not self._decide(table, &query, &answer, now_s):
            return DECLINED
        if query.cookie != NULL:
            is_known = self._bake(&query, client, now_s, cookie)
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
        self, CompiledTable table, Query* query, Answer* answer, int64_t now_s
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
        # An apex has more records than are worth it, and an old table answers nothing.
        if below == 0 or not table.is_loaded or now_s - table.vouched_s >= self._max_silence_s:
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

    cdef bint _bake(
        self, Query* query, const Client* client, int64_t now_s, uint8_t* cookie
    ) noexcept nogil:
        """Makes the cookie to send; whether the one that came was made here for this client."""
        cdef uint8_t data[32]
        cdef uint8_t hashed[8]
        cdef const uint8_t* came = query.cookie + CLIENT_COOKIE_BYTES
        cdef int number, maker = -1
        cdef int32_t age_s
        cdef uint32_t now = <uint32_t>now_s
        cdef bint is_known = False
        memcpy(data, query.cookie, CLIENT_COOKIE_BYTES)
        memcpy(data + 16, client.packed, client.width)
        if query.cookie_bytes == CLIENT_COOKIE_BYTES + SERVER_COOKIE_BYTES and came[0] == 1:
            memcpy(data + 8, came, 8)
            for number in range(self._keys_count):
                _put_hash(hashed, self._keys[number], data, 16 + client.width)
                if _are_same(hashed, came + 8):
                    maker = number
                    break
            age_s = <int32_t>(now - _quad(came + 4))
            is_known = maker >= 0 and -FUTURE_S <= age_s <= OLDEST_S
            if is_known and maker == 0 and age_s <= RENEW_S:
                memcpy(cookie, query.cookie, CLIENT_COOKIE_BYTES + SERVER_COOKIE_BYTES)
                return True
        memset(data + 8, 0, 8)
        data[8] = 1
        _put_quad(data + 12, now)
        memcpy(cookie, data, 16)
        _put_hash(cookie + 16, self._keys[0], data, 16 + client.width)
        return is_known

    cdef Py_ssize_t _finish_bare(
        self, Query* query, int rcode, const Client* client, uint64_t now_us, uint8_t* out,
        Counts* counts,
    ) noexcept nogil:
        """A header alone."""
        memset(out, 0, HEADER_BYTES)
        memcpy(out, query.wire, 2)
        _put_pair(out + 2, 0x8000 | (query.flags & 0x7910) | rcode)
        if not self._admits(client, ERROR, now_us):
            counts.limited[<int>ERROR] += 1
            out[2] |= 0x02
        counts.answered[rcode] += 1
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
        if not is_known and not self._admits(client, kind, now_us):
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
        counts.answered[answer.rcode] += 1
        return answer.size

    cdef bint _admits(self, const Client* client, int kind, uint64_t now_us) noexcept nogil:
        """See `secondary.dns.rate_limit`, whose slots these are."""
        cdef uint8_t data[8]
        cdef size_t prefix = IPV4_PREFIX_BYTES if client.width == IPV4_BYTES else IPV6_PREFIX_BYTES
        cdef uint64_t cost_us = self._costs_us[kind], slot, used_until_us
        if cost_us == 0:
            return True
        data[0] = <uint8_t>kind
        memcpy(data + 1, client.packed, prefix)
        slot = _siphash(self._limiter_key, data, 1 + prefix) & self._mask
        used_until_us = max(self._slots[slot], now_us)
        if used_until_us + cost_us - now_us > BURST_US:
            return False
        self._slots[slot] = used_until_us + cost_us
        return True


# --- the query ----------------------------------------------------------------------


cdef inline uint16_t _pair(const uint8_t* at, size_t offset) noexcept nogil:
    return <uint16_t>((at[offset] << 8) | at[offset + 1])


cdef bint _parse(Query* query) noexcept nogil:
    """Whether the query is well formed; see `secondary.dns.query`, whose rules these are."""
    cdef const uint8_t* wire = query.wire
    cdef size_t offset = HEADER_BYTES, length, at
    if _pair(wire, 4) != 1:
        return False
    query.labels_count = 0
    query.has_edns, query.wants_nsid = False, False
    query.cookie, query.cookie_bytes = NULL, 0
    while True:
        if offset >= query.size:
            return False
        length = wire[offset]
        if length > MAX_LABEL_BYTES:
            return False
        # The closing zero has to fit too.
        if length and offset - HEADER_BYTES + 1 + length >= MAX_NAME_BYTES:
            return False
        query.labels[query.labels_count] = <uint8_t>(offset - HEADER_BYTES)
        query.labels_count += 1
        offset += 1 + length
        if length == 0:
            break
    query.name_bytes = offset - HEADER_BYTES
    if query.size - offset < 4:
        return False
    # Lengths are below 64, and so no letters.
    for at in range(query.name_bytes):
        query.name[at] = _lower(wire[HEADER_BYTES + at])
    query.type, query.class_ = _pair(wire, offset), _pair(wire, offset + 2)
    if query.type == TYPE_OPT:
        return False
    query.question_bytes = query.name_bytes + 4
    return _parse_records(query, offset + 4)


cdef bint _parse_records(Query* query, size_t offset) noexcept nogil:
    cdef const uint8_t* wire = query.wire
    cdef int before = _pair(wire, 6) + _pair(wire, 8)
    cdef int count = before + _pair(wire, 10), number
    cdef size_t owner, end
    if count > MAX_RECORDS:
        return False
    for number in range(count):
        owner = offset
        if not _skip_name(query, &offset) or query.size < 10 or offset > query.size - 10:
            return False
        end = offset + 10 + _pair(wire, offset + 8)
        if end > query.size:
            return False
        if _pair(wire, offset) == TYPE_OPT and number >= before:
            if query.has_edns or wire[owner] != 0:
                return False
            query.has_edns = True
            query.payload_bytes = _pair(wire, offset + 2)
            query.version = wire[offset + 5]
            query.dnssec_ok = wire[offset + 6] >> 7
            if not _parse_options(query, offset + 10, end):
                return False
        offset = end
    return True


cdef bint _skip_name(Query* query, size_t* offset) noexcept nogil:
    """Whether a name stands there that may end in a compression pointer; nothing is followed."""
    cdef size_t length
    while True:
        if offset[0] >= query.size:
            return False
        length = query.wire[offset[0]]
        if length >= 0xC0:
            offset[0] += 2
            return True
        if length > MAX_LABEL_BYTES:
            return False
        offset[0] += 1 + length
        if length == 0:
            return True


cdef bint _parse_options(Query* query, size_t offset, size_t end) noexcept nogil:
    """Whether the options fill what stands before `end`; the first cookie is kept."""
    cdef size_t length
    cdef uint16_t code
    while offset < end:
        # As in the reference a header may reach past the record, though not past the message.
        if query.size - offset < 4:
            return False
        code, length = _pair(query.wire, offset), _pair(query.wire, offset + 2)
        offset += 4
        if offset + length > end:
            return False
        if code == OPTION_COOKIE and query.cookie == NULL:
            query.cookie, query.cookie_bytes = query.wire + offset, length
        elif code == OPTION_NSID:
            query.wants_nsid = True
        offset += length
    if offset != end:
        return False
    return query.cookie == NULL or (
        query.cookie_bytes == CLIENT_COOKIE_BYTES or 16 <= query.cookie_bytes <= 40
    )


cdef inline uint8_t _lower(uint8_t byte) noexcept nogil:
    return byte + 32 if 65 <= byte <= 90 else byte


# --- names ----------------------------------------------------------------------------


cdef int _octet(const uint8_t* text, size_t size) noexcept nogil:
    """The number of 0 to 255 that is written there without needless zeros; -1 if none is."""
    cdef int value = 0
    cdef size_t at
    if size == 0 or size > 3 or (size > 1 and text[0] == 48):
        return -1
    for at in range(size):
        if text[at] < 48 or text[at] > 57:
            return -1
        value = value * 10 + text[at] - 48
    return value if value <= 255 else -1


cdef inline int _nibble(uint8_t byte) noexcept nogil:
    if 48 <= byte <= 57:
        return byte - 48
    return byte - 87 if 97 <= byte <= 102 else -1


cdef size_t _parse_dashed(const uint8_t* label, size_t size, uint8_t* key) noexcept nogil:
    """The width of the address whose dashed form is the label; 0 if there is none."""
    cdef size_t at, begun = 0, filled = 0
    cdef int value
    if size == 39:
        for at in range(39):
            if at % 5 == 4:
                if label[at] != 45:
                    return 0
                continue
            value = _nibble(label[at])
            if value < 0:
                return 0
            if filled % 2 == 0:
                key[filled // 2] = <uint8_t>(value << 4)
            else:
                key[filled // 2] |= <uint8_t>value
            filled += 1
        return IPV6_BYTES
    for at in range(size + 1):
        if at < size and label[at] != 45:
            continue
        value = _octet(label + begun, at - begun)
        if value < 0 or filled == IPV4_BYTES:
            return 0
        key[filled] = <uint8_t>value
        filled += 1
        begun = at + 1
    return IPV4_BYTES if filled == IPV4_BYTES else 0


cdef bint _guess(const uint8_t* wire, size_t size, uint8_t* key) noexcept nogil:
    """Whether the name seems to begin with an IPv4 address, dashed, or its octets in reverse."""
    cdef size_t at, number = 0
    cdef unsigned int value = 0
    cdef bint is_reversed
    if size < HEADER_BYTES + 17 or wire[HEADER_BYTES] > 15:
        return False
    is_reversed = wire[HEADER_BYTES] < 4
    # Its four numbers, and what follows each, take 16 bytes at most.
    for at in range(<size_t>HEADER_BYTES + 1, <size_t>HEADER_BYTES + 17):
        if 48 <= wire[at] <= 57:
            value = value * 10 + wire[at] - 48
            continue
        key[3 - number if is_reversed else number] = <uint8_t>value
        number += 1
        value = 0
        if number == IPV4_BYTES:
            return True
    return False


cdef int _octet_at(const Query* query, int label) noexcept nogil:
    cdef const uint8_t* at = query.name + query.labels[label]
    return _octet(at + 1, at[0])


cdef int _nibble_at(const Query* query, int label) noexcept nogil:
    cdef const uint8_t* at = query.name + query.labels[label]
    return _nibble(at[1]) if at[0] == 1 else -1


cdef size_t _parse_reversed(const Query* query, int below, uint8_t* key) noexcept nogil:
    """The width of the address whose reversed name has exactly these labels; 0 if there is none."""
    cdef int label, value
    if below == IPV4_BYTES:
        for label in range(below):
            value = _octet_at(query, label)
            if value < 0:
                return 0
            key[below - 1 - label] = <uint8_t>value
        return IPV4_BYTES
    if below == 2 * IPV6_BYTES and _read_nibbles(query, below, key):
        return IPV6_BYTES
    return 0


cdef bint _read_nibbles(const Query* query, int below, uint8_t* key) noexcept nogil:
    cdef int label, value, number
    memset(key, 0, IPV6_BYTES)
    for label in range(below):
        value = _nibble_at(query, label)
        if value < 0:
            return False
        number = below - 1 - label
        key[number // 2] |= <uint8_t>(value << (4 if number % 2 == 0 else 0))
    return True


cdef bint _octets_above(
    const Query* query, int below, uint8_t* first, uint8_t* last
) noexcept nogil:
    """Whether reversed IPv4 addresses may stand below the name, and the range of them."""
    cdef int label, value
    if below >= IPV4_BYTES:
        return False
    memset(first, 0, IPV4_BYTES)
    memset(last, 0xFF, IPV4_BYTES)
    for label in range(below):
        value = _octet_at(query, label)
        if value < 0:
            return False
        first[below - 1 - label] = last[below - 1 - label] = <uint8_t>value
    return True


cdef bint _nibbles_above(
    const Query* query, int below, uint8_t* first, uint8_t* last
) noexcept nogil:
    """The same for IPv6 addresses."""
    cdef int number
    if below >= 2 * IPV6_BYTES or not _read_nibbles(query, below, first):
        return False
    memset(last, 0xFF, IPV6_BYTES)
    memcpy(last, first, (below + 1) // 2)
    if below % 2:
        last[below // 2] |= 0xF
    return True


cdef bint _is(
    const uint8_t* key, size_t width, const uint8_t* ipv4, const uint8_t* ipv6
) noexcept nogil:
    return memcmp(key, ipv4 if width == IPV4_BYTES else ipv6, width) == 0


cdef bint _is_between(
    const uint8_t* key, const uint8_t* first, const uint8_t* last, size_t width
) noexcept nogil:
    return memcmp(first, key, width) <= 0 and memcmp(key, last, width) <= 0


# --- the answer -----------------------------------------------------------------------


cdef void _begin(const Query* query, Answer* answer) noexcept nogil:
    memcpy(answer.out + HEADER_BYTES, query.wire + HEADER_BYTES, query.question_bytes)
    answer.size = HEADER_BYTES + query.question_bytes


cdef void _add_record(
    Answer* answer, uint16_t type_, uint32_t ttl, const uint8_t* data, size_t size
) noexcept nogil:
    """The one record of an answer, its owner a pointer to the question."""
    cdef uint8_t* at = answer.out + answer.size
    _put_pair(at, 0xC000 | HEADER_BYTES)
    _put_pair(at + 2, type_)
    _put_pair(at + 4, CLASS_IN)
    _put_quad(at + 6, ttl)
    _put_pair(at + 10, <uint16_t>size)
    memcpy(at + 12, data, size)
    answer.size += 12 + size
    answer.has_answer = True


cdef void _add_listed(
    const Query* query, Answer* answer, uint32_t ttl, const uint8_t* text, size_t text_bytes
) noexcept nogil:
    """A listed name's record of the type that was asked for, if it has one."""
    if query.type == TYPE_A or query.type == TYPE_ANY:
        _add_record(answer, TYPE_A, ttl, ALWAYS_IPV4, IPV4_BYTES)
    elif query.type == TYPE_TXT:
        _add_record(answer, TYPE_TXT, ttl, text, text_bytes)


cdef void _absent(
    CompiledTable table, const Zone* zone, const Query* query, Answer* answer
) noexcept nogil:
    """The SOA record, its owner a pointer to the origin's name in the question."""
    cdef uint8_t* at = answer.out + answer.size
    _put_pair(at, <uint16_t>(0xC000 | (HEADER_BYTES + query.name_bytes - zone.origin_bytes)))
    memcpy(at + 2, zone.absence, zone.absence_bytes)
    _put_quad(at + 2 + zone.absence_bytes - 20, table.serial)
    answer.size += 2 + zone.absence_bytes
    answer.has_authority = True


cdef size_t _make_opt(
    const Query* query, const Answer* answer, const uint8_t* cookie, uint8_t* opt
) noexcept nogil:
    """The OPT record's bytes: at most 11, a cookie's 28 and an error's 80."""
    cdef size_t size = 11
    if not query.has_edns:
        return 0
    memset(opt, 0, 11)
    _put_pair(opt + 1, TYPE_OPT)
    _put_pair(opt + 3, EDNS_UDP_BYTES)
    opt[5] = <uint8_t>answer.extended_rcode
    opt[7] = 0x80 if query.dnssec_ok else 0
    if query.cookie != NULL:
        _put_pair(opt + size, OPTION_COOKIE)
        _put_pair(opt + size + 2, 24)
        memcpy(opt + size + 4, cookie, 24)
        size += 28
    if answer.extended_error != NULL:
        memcpy(opt + size, answer.extended_error, answer.extended_error_bytes)
        size += answer.extended_error_bytes
    _put_pair(opt + 9, <uint16_t>(size - 11))
    return size


cdef size_t _append(uint8_t* to, size_t size, const uint8_t* more, size_t count) noexcept nogil:
    memcpy(to + size, more, count)
    return size + count


cdef size_t _append_date(uint8_t* to, size_t size, uint32_t day_of_1970) noexcept nogil:
    """The day in UTC, as 2026-11-24 (the civil calendar from days: H. Hinnant, chrono)."""
    cdef uint32_t days = day_of_1970 + 719468
    cdef uint32_t era_day = days % 146097
    cdef uint32_t era_year = (
        era_day - era_day // 1460 + era_day // 36524 - era_day // 146096
    ) // 365
    cdef uint32_t year_day = era_day - (365 * era_year + era_year // 4 - era_year // 100)
    cdef uint32_t shifted = (5 * year_day + 2) // 153
    cdef uint32_t day = year_day - (153 * shifted + 2) // 5 + 1
    cdef uint32_t month = shifted + 3 if shifted < 10 else shifted - 9
    cdef uint32_t year = era_year + days // 146097 * 400 + (1 if month <= 2 else 0)
    to[size] = <uint8_t>(48 + year // 1000)
    to[size + 1] = <uint8_t>(48 + year // 100 % 10)
    to[size + 2] = <uint8_t>(48 + year // 10 % 10)
    to[size + 3] = <uint8_t>(48 + year % 10)
    to[size + 4] = to[size + 7] = 45
    to[size + 5] = <uint8_t>(48 + month // 10)
    to[size + 6] = <uint8_t>(48 + month % 10)
    to[size + 8] = <uint8_t>(48 + day // 10)
    to[size + 9] = <uint8_t>(48 + day % 10)
    return size + 10


cdef inline void _put_pair(uint8_t* at, uint16_t value) noexcept nogil:
    at[0] = <uint8_t>(value >> 8)
    at[1] = <uint8_t>value


cdef inline void _put_quad(uint8_t* at, uint32_t value) noexcept nogil:
    _put_pair(at, <uint16_t>(value >> 16))
    _put_pair(at + 2, <uint16_t>value)


cdef inline uint32_t _quad(const uint8_t* at) noexcept nogil:
    return (<uint32_t>_pair(at, 0) << 16) | _pair(at, 2)


# --- SipHash-2-4 (Aumasson and Bernstein) ---------------------------------------------


cdef inline uint64_t _turn(uint64_t value, int bits) noexcept nogil:
    return (value << bits) | (value >> (64 - bits))


cdef inline void _round(uint64_t* v) noexcept nogil:
    v[0] += v[1]
    v[1] = _turn(v[1], 13) ^ v[0]
    v[0] = _turn(v[0], 32)
    v[2] += v[3]
    v[3] = _turn(v[3], 16) ^ v[2]
    v[0] += v[3]
    v[3] = _turn(v[3], 21) ^ v[0]
    v[2] += v[1]
    v[1] = _turn(v[1], 17) ^ v[2]
    v[2] = _turn(v[2], 32)


cdef inline uint64_t _little(const uint8_t* at, size_t count) noexcept nogil:
    cdef uint64_t value = 0
    cdef size_t number
    for number in range(count):
        value |= <uint64_t>at[number] << (8 * number)
    return value


cdef uint64_t _siphash(const uint8_t* key, const uint8_t* data, size_t size) noexcept nogil:
    cdef uint64_t v[4]
    cdef uint64_t low = _little(key, 8), high = _little(key + 8, 8), word
    cdef size_t whole = size // 8, number
    v[0] = low ^ <uint64_t>0x736F6D6570736575
    v[1] = high ^ <uint64_t>0x646F72616E646F6D
    v[2] = low ^ <uint64_t>0x6C7967656E657261
    v[3] = high ^ <uint64_t>0x7465646279746573
    for number in range(whole + 1):
        if number < whole:
            word = _little(data + 8 * number, 8)
        else:
            word = _little(data + 8 * whole, size % 8) | (<uint64_t>size << 56)
        v[3] ^= word
        _round(v)
        _round(v)
        v[0] ^= word
    v[2] ^= 0xFF
    for number in range(4):
        _round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


cdef void _put_hash(
    uint8_t* to, const uint8_t* key, const uint8_t* data, size_t size
) noexcept nogil:
    cdef uint64_t value = _siphash(key, data, size)
    cdef int number
    for number in range(8):
        to[number] = <uint8_t>(value >> (8 * number))


cdef bint _are_same(const uint8_t* one, const uint8_t* other) noexcept nogil:
    """Compares eight bytes in the same time whether or not they are the same."""
    cdef uint8_t differs = 0
    cdef int number
    for number in range(8):
        differs |= one[number] ^ other[number]
    return differs == 0


# --- what Python gives ----------------------------------------------------------------


cdef int _copy(uint8_t* to, size_t room, bytes data) except -1:
    if <size_t>len(data) > room:
        raise ValueError(f"{len(data)} bytes where {room} fit")
    memcpy(to, <const uint8_t*>data, len(data))
    return 0


cdef int _fill_zone(Zone* to, zone) except -1:
    to.kind = zone.kind
    _copy(to.origin, sizeof(to.origin), zone.origin)
    _copy(to.absence, sizeof(to.absence), zone.absence)
    _copy(to.text, sizeof(to.text), zone.text)
    to.origin_bytes = len(zone.origin)
    to.absence_bytes = len(zone.absence)
    to.text_bytes = len(zone.text)
    if to.absence_bytes < 20:
        raise ValueError("expected an SOA record")
    return 0


cdef int _fill_range(Range* to, bytes first, bytes last) except -1:
    if len(first) != len(last):
        raise ValueError("expected two addresses of one family")
    to.width = len(first)
    _copy(to.first, sizeof(to.first), first)
    _copy(to.last, sizeof(to.last), last)
    return 0
