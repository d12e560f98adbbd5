from libc.stdint cimport uint8_t, uint16_t, uint32_t

# Facts of all addresses, in chunks that never move; by size, slots that are free.
cdef struct Arena:
    uint8_t** chunks
    size_t chunks_count
    uint32_t top
    uint32_t free[160]

# What is said of an address.
cdef struct Facts:
    uint8_t status
    uint8_t host_bytes
    # Days since 1970.
    uint16_t since_day
    uint8_t host[256]

cdef void begin_arena(Arena* arena) noexcept
cdef void end_arena(Arena* arena) noexcept
cdef uint32_t new_facts(
    Arena* arena, uint8_t status, uint16_t since_day, const uint8_t* host, uint8_t host_bytes
) except 0
cdef void free_facts(Arena* arena, uint32_t number) noexcept
cdef void read_facts(const Arena* arena, uint32_t number, Facts* facts) noexcept nogil
cdef bint are_same(
    const Arena* arena, uint32_t number, const Arena* other, uint32_t other_number
) noexcept nogil
