from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t

from secondary.dns.compiled.facts cimport Arena, Facts

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_rwlock_t:
        pass

# Up to 64 addresses in order. After the room for them come the numbers of their facts.
cdef struct Block:
    uint32_t count
    uint8_t keys[0]

# Addresses of one family: blocks in order, and beside them the first key of each.
cdef struct Family:
    size_t width
    size_t count
    size_t blocks_count
    size_t blocks_room
    Block** blocks
    uint8_t* firsts

cdef class CompiledTable:
    cdef Family _ipv4
    cdef Family _ipv6
    cdef Arena _arena
    cdef pthread_rwlock_t _lock
    cdef object _standing
    cdef readonly object members
    cdef uint32_t serial
    cdef bint is_loaded
    cdef bint is_retired

    cdef void lock_for_reading(self) noexcept nogil
    cdef void unlock(self) noexcept nogil
    cdef bint look_up(self, const uint8_t* key, size_t width, uint32_t* found) noexcept nogil
    cdef Block** expect(self, const uint8_t* key, size_t width) noexcept nogil
    cdef void warm(self, Block** expected) noexcept nogil
    cdef void tell(self, uint32_t found, Facts* facts) noexcept nogil
    cdef bint any_between(
        self, const uint8_t* first, const uint8_t* last, size_t width
    ) noexcept nogil
    cdef int _put(self, const uint8_t* key, size_t width, uint8_t status, uint16_t since_day,
                  const uint8_t* host, uint8_t host_bytes) except -1
    cdef int _remove(self, const uint8_t* key, size_t width) except -1
