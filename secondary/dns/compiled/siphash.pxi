# SipHash-2-4 (Aumasson and Bernstein); part of `answering.pyx`.

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
