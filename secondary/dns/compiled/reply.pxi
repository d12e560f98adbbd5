# The answer put together; part of `answering.pyx`.

cdef inline int _column(uint16_t type) noexcept nogil:
    """The place of a type among those that are counted apart."""
    if type == 1:
        return 0
    if type == 28:
        return 1
    if type == 16:
        return 2
    if type == 2:
        return 3
    if type == 6:
        return 4
    if type == 15:
        return 5
    if type == 12:
        return 6
    return 7 if type == 255 else <int>TYPES - 1


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
