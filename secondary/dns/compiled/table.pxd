from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_rwlock_t:
        pass

cdef struct Block:
    uint32_t count
    # Where in the arena each key's facts stand; the keys follow them.
    uint32_t facts[512]
    uint8_t keys[0]

# Addresses of one family: blocks in order, and beside them the first key of each.
cdef struct Family:
    size_t width
    size_t count
    size_t blocks_count
    size_t blocks_room
    Block** blocks
    uint8_t* firsts

# Facts of all addresses, in chunks that never move; by size, those that are free.
cdef struct Arena:
    uint8_t** chunks
    size_t chunks_count
    uint32_t top
    uint32_t free[80]

# Where an address's facts are: valid until the lock is given back.
cdef struct Facts:
    uint8_t status
    uint8_t host_bytes
    uint32_t since_s
    const uint8_t* host

cdef class CompiledTable:
    cdef Family _ipv4
    cdef Family _ipv6
    cdef Arena _arena
    cdef pthread_rwlock_t _lock
    cdef object _standing
    cdef uint32_t serial
    cdef int64_t vouched_s
    cdef bint is_loaded
    cdef bint is_retired

    cdef void lock_for_reading(self) noexcept nogil
    cdef void unlock(self) noexcept nogil
    cdef bint look_up(self, const uint8_t* key, size_t width, Facts* found) noexcept nogil
    cdef bint any_between(
        self, const uint8_t* first, const uint8_t* last, size_t width
    ) noexcept nogil
    cdef int _put(self, const uint8_t* key, size_t width, uint8_t status, uint32_t since_s,
                  const uint8_t* host, uint8_t host_bytes) except -1
    cdef int _remove(self, const uint8_t* key, size_t width) except -1
