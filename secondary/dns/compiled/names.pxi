# Addresses in names, dashed and reversed; part of `answering.pyx`.

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
