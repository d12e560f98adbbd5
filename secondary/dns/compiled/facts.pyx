# cython: language_level=3, boundscheck=True, wraparound=False, cdivision=True
"""What is said of an address: status, day and host name, in four bytes and two thirds of the name.

Slots are multiples of two bytes and are used again by size. A host name has letters, digits,
hyphens and dots, some an underscore: 39 characters and none, of which three fit into 16 bits. A
name with any other character is kept as it is.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset

cdef enum:
    UNIT_BYTES = 2
    CHUNK_UNITS = 1 << 19
    HEAD_BYTES = 4
    # Beside the status: the name is kept as it is.
    IS_PLAIN = 0x80
    CHARACTERS = 40
    IN_A_UNIT = 3

cdef bytes _ALPHABET = b"\0abcdefghijklmnopqrstuvwxyz0123456789-._"
cdef uint8_t CHARACTER[40]
# 0 is none.
cdef uint8_t CODE[256]
memset(CODE, 0, 256)
for _code, _character in enumerate(_ALPHABET):
    CHARACTER[<int>_code] = _character
    CODE[<int>_character] = _code


cdef void begin_arena(Arena* arena) noexcept:
    memset(arena, 0, sizeof(Arena))
    # Nothing stands at 0: it means that there is nothing.
    arena.top = 1


cdef void end_arena(Arena* arena) noexcept:
    cdef size_t at
    for at in range(arena.chunks_count):
        free(arena.chunks[at])
    free(arena.chunks)


cdef uint32_t new_facts(
    Arena* arena, uint8_t status, uint16_t since_day, const uint8_t* host, uint8_t host_bytes
) except 0:
    """Their number, by which they are found until they are freed."""
    cdef uint8_t head[4]
    cdef bint is_plain = not _can_pack(host, host_bytes)
    # The size of the name as it is kept.
    cdef uint8_t kept = host_bytes if is_plain else _packed_units(host_bytes)
    head[0], head[1] = status | (IS_PLAIN if is_plain else 0), kept
    memcpy(head + 2, &since_day, sizeof(uint16_t))
    cdef uint32_t units = _units(head)
    cdef uint32_t number = arena.free[units]
    cdef uint8_t* slot
    if number:
        memcpy(&arena.free[units], _slot(arena, number), sizeof(uint32_t))
    else:
        number = _fresh(arena, units)
    slot = _slot(arena, number)
    memcpy(slot, head, HEAD_BYTES)
    if is_plain:
        memcpy(slot + HEAD_BYTES, host, host_bytes)
    else:
        _pack(host, host_bytes, slot + HEAD_BYTES)
    return number


cdef void free_facts(Arena* arena, uint32_t number) noexcept:
    cdef uint8_t* slot = _slot(arena, number)
    cdef uint32_t units = _units(slot)
    memcpy(slot, &arena.free[units], sizeof(uint32_t))
    arena.free[units] = number


cdef void read_facts(const Arena* arena, uint32_t number, Facts* facts) noexcept nogil:
    cdef const uint8_t* slot = _slot(arena, number)
    facts.status = slot[0] & <uint8_t>~IS_PLAIN
    memcpy(&facts.since_day, slot + 2, sizeof(uint16_t))
    if slot[0] & IS_PLAIN:
        facts.host_bytes = slot[1]
        memcpy(facts.host, slot + HEAD_BYTES, slot[1])
    else:
        facts.host_bytes = _unpack(slot + HEAD_BYTES, slot[1], facts.host)


cdef bint are_same(
    const Arena* arena, uint32_t number, const Arena* other, uint32_t other_number
) noexcept nogil:
    cdef const uint8_t* one = _slot(arena, number)
    cdef const uint8_t* another = _slot(other, other_number)
    return memcmp(one, another, HEAD_BYTES) == 0 and (
        memcmp(one + HEAD_BYTES, another + HEAD_BYTES, _name_bytes(one)) == 0
    )


cdef uint8_t* _slot(const Arena* arena, uint32_t number) noexcept nogil:
    return arena.chunks[number // CHUNK_UNITS] + <size_t>(number % CHUNK_UNITS) * UNIT_BYTES


cdef inline uint32_t _name_bytes(const uint8_t* head) noexcept nogil:
    return head[1] if head[0] & IS_PLAIN else head[1] * UNIT_BYTES


cdef inline uint32_t _units(const uint8_t* head) noexcept nogil:
    return (HEAD_BYTES + _name_bytes(head) + UNIT_BYTES - 1) // UNIT_BYTES


cdef uint32_t _fresh(Arena* arena, uint32_t units) except 0:
    """Units that were never used; none reach from one chunk into the next."""
    cdef uint32_t begin = arena.top
    cdef void* moved
    if begin // CHUNK_UNITS != (begin + units - 1) // CHUNK_UNITS:
        begin = (begin // CHUNK_UNITS + 1) * CHUNK_UNITS
    if begin > 0xFFFFFFFF - units:
        raise MemoryError
    if begin // CHUNK_UNITS == arena.chunks_count:
        moved = realloc(arena.chunks, (arena.chunks_count + 1) * sizeof(uint8_t*))
        if moved == NULL:
            raise MemoryError
        arena.chunks = <uint8_t**>moved
        arena.chunks[arena.chunks_count] = <uint8_t*>calloc(CHUNK_UNITS, UNIT_BYTES)
        if arena.chunks[arena.chunks_count] == NULL:
            raise MemoryError
        arena.chunks_count += 1
    arena.top = begin + units
    return begin


cdef bint _can_pack(const uint8_t* host, size_t size) noexcept nogil:
    cdef size_t at
    for at in range(size):
        if not CODE[host[at]]:
            return False
    return True


cdef inline uint8_t _packed_units(size_t size) noexcept nogil:
    return <uint8_t>((size + IN_A_UNIT - 1) // IN_A_UNIT)


cdef void _pack(const uint8_t* host, size_t size, uint8_t* to) noexcept nogil:
    cdef size_t at, begin
    cdef uint16_t unit
    for begin in range(0, size, 3):
        unit = 0
        for at in range(begin, begin + IN_A_UNIT):
            unit = unit * CHARACTERS + (CODE[host[at]] if at < size else 0)
        memcpy(to, &unit, UNIT_BYTES)
        to += UNIT_BYTES


cdef uint8_t _unpack(const uint8_t* packed, size_t units, uint8_t* host) noexcept nogil:
    """How many characters these are."""
    cdef size_t number, size = units * IN_A_UNIT
    cdef uint16_t unit
    for number in range(units):
        memcpy(&unit, packed + number * UNIT_BYTES, UNIT_BYTES)
        host[number * IN_A_UNIT] = CHARACTER[unit // (CHARACTERS * CHARACTERS)]
        host[number * IN_A_UNIT + 1] = CHARACTER[unit // CHARACTERS % CHARACTERS]
        host[number * IN_A_UNIT + 2] = CHARACTER[unit % CHARACTERS]
    while size and host[size - 1] == 0:
        size -= 1
    return <uint8_t>size
