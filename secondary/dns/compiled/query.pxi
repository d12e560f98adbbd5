# The query taken apart; part of `answering.pyx`.

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
