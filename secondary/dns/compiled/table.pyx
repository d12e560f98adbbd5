# cython: language_level=3, boundscheck=True, wraparound=False, cdivision=True
"""The names DNS answers for in some 32 bytes each, read by threads that hold no GIL.

Keys stand in order in blocks of up to 64; one binary search over the first keys of the blocks
finds the block, one within it the key, neither with a branch that could be guessed wrong. What is
said of an address stands in an arena, so that a change costs microseconds and never moves anything
else. Readers share a lock for a batch of queries; the one writer, who holds the
GIL, waits for them, and they not for each other.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memmove

from secondary.dns.compiled.facts cimport (
    Facts,
    are_same,
    begin_arena,
    end_arena,
    free_facts,
    new_facts,
    read_facts,
)

from registry.kinds import Kind, Status
from registry.registration import outline_registration
from secondary.dns.members import Members
from secondary.dns.table import DAY_SECONDS, LATEST_DAY, LISTED, Listing

cdef extern from *:
    uint32_t __builtin_bswap32(uint32_t) nogil
    uint64_t __builtin_bswap64(uint64_t) nogil
    void __builtin_prefetch(const void*) nogil

cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_rwlockattr_t:
        pass
    int pthread_rwlockattr_init(pthread_rwlockattr_t*)
    int pthread_rwlockattr_setkind_np(pthread_rwlockattr_t*, int)
    int pthread_rwlockattr_destroy(pthread_rwlockattr_t*)
    int PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP
    int pthread_rwlock_init(pthread_rwlock_t*, pthread_rwlockattr_t*)
    int pthread_rwlock_destroy(pthread_rwlock_t*)
    int pthread_rwlock_rdlock(pthread_rwlock_t*)
    int pthread_rwlock_wrlock(pthread_rwlock_t*)
    int pthread_rwlock_unlock(pthread_rwlock_t*)

cdef enum:
    # Four lines of a cache, for IPv4, and little to move when one of them changes.
    BLOCK_KEYS = 64
    LINE_BYTES = 64
    MAX_HOST_BYTES = 253
    IPV4_BYTES = 4
    IPV6_BYTES = 16

cdef int REGISTRATION = int(Kind.REGISTRATION)

# In one unit of C, so that the compiler sees all of it at once.
include "blocks.pxi"


cdef class CompiledTable:
    """See `secondary.dns.table.NameTable`, and `DictTable`, whose methods these are."""

    def __cinit__(self):
        self.members = Members()
        cdef pthread_rwlockattr_t kind
        self._ipv4.width = IPV4_BYTES
        self._ipv6.width = IPV6_BYTES
        begin_arena(&self._arena)
        pthread_rwlockattr_init(&kind)
        # A change must not wait for a flood to end.
        pthread_rwlockattr_setkind_np(&kind, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP)
        pthread_rwlock_init(&self._lock, &kind)
        pthread_rwlockattr_destroy(&kind)

    def __dealloc__(self):
        _free_family(&self._ipv4)
        _free_family(&self._ipv6)
        end_arena(&self._arena)
        pthread_rwlock_destroy(&self._lock)

    def __len__(self):
        return self._ipv4.count + self._ipv6.count

    @property
    def standing(self):
        """How far in the log the table is; RuntimeError before the first `advance`."""
        if self._standing is None:
            raise RuntimeError("the table was not loaded")
        return self._standing

    def find(self, address):
        """What is listed of `address`; None when it is not, whatever the register holds of it."""
        cdef bytes packed = address.packed
        cdef const uint8_t* key = packed
        cdef uint32_t found
        cdef Facts facts
        # Nobody writes without the GIL, which is held here.
        if not self.look_up(key, len(packed), &found):
            return None
        self.tell(found, &facts)
        host = (<const char*>facts.host)[: facts.host_bytes]
        return Listing(Status(facts.status), facts.since_day * DAY_SECONDS, host.decode("ascii"))

    def any_listed(self, first, last):
        """Whether any address of their family from `first` up to and with `last` is listed."""
        cdef bytes low = first.packed
        cdef bytes high = last.packed
        if len(low) != len(high):
            raise ValueError("two addresses of different families")
        return self.any_between(low, high, len(low))

    def agrees_with(self, CompiledTable other not None):
        """Whether both list the same."""
        return (
            _agree(&self._ipv4, &self._arena, &other._ipv4, &other._arena)
            and _agree(&self._ipv6, &self._arena, &other._ipv6, &other._arena)
            and self.members == other.members
        )

    def bulk_load(self):
        """What takes records by the page, while nobody reads the table."""
        # It needs this module to be there.
        from secondary.dns.compiled.loading import BulkLoad

        return BulkLoad(self)

    def put(self, bytes state_key not None, bytes payload not None, bytes record not None):
        """Takes a registration or a member; other kinds have no name."""
        if state_key[0] != REGISTRATION:
            self.members.put(state_key, payload)
            return
        status, registered_ms, host = outline_registration(payload)
        if status not in LISTED:
            self.remove(state_key)
            return
        cdef bytes name = host.encode("ascii")
        cdef size_t width = _width_of(state_key)
        if len(name) > MAX_HOST_BYTES:
            raise ValueError(f"a host name of {len(name)} bytes")
        cdef const uint8_t* key = state_key
        cdef uint16_t since_day = min(registered_ms // 1000 // DAY_SECONDS, LATEST_DAY)
        pthread_rwlock_wrlock(&self._lock)
        try:
            self._put(key + 1, width, status, since_day, name, len(name))
        finally:
            self.unlock()

    def remove(self, bytes state_key not None):
        """Lists a registration or a member no more."""
        if state_key[0] != REGISTRATION:
            self.members.remove(state_key)
            return
        cdef size_t width = _width_of(state_key)
        cdef const uint8_t* key = state_key
        pthread_rwlock_wrlock(&self._lock)
        try:
            self._remove(key + 1, width)
        finally:
            self.unlock()

    def put_openings(self, state_key, record):
        """Contact is not published in DNS."""

    def remove_openings(self, state_key):
        """Contact is not published in DNS."""

    def advance(self, standing):
        """The serial that DNS shows rises with this, after the records."""
        cdef uint32_t serial = standing.position.state.zone_serial
        pthread_rwlock_wrlock(&self._lock)
        self.serial, self.is_loaded = serial, True
        self.unlock()
        self._standing = standing

    def retire(self):
        """Another table serves from now on: threads that hold this one look for it."""
        pthread_rwlock_wrlock(&self._lock)
        self.is_retired = True
        self.unlock()

    cdef void lock_for_reading(self) noexcept nogil:
        pthread_rwlock_rdlock(&self._lock)

    cdef void unlock(self) noexcept nogil:
        pthread_rwlock_unlock(&self._lock)

    cdef bint look_up(self, const uint8_t* key, size_t width, uint32_t* found) noexcept nogil:
        """Whether the address is listed; `found` is then the number of what is said of it, until
        the lock is given back."""
        cdef Family* family = &self._ipv4 if width == IPV4_BYTES else &self._ipv6
        cdef Block* block
        cdef size_t at
        if not family.blocks_count:
            return False
        block = family.blocks[_block_for(family, key)]
        if not _search(block, key, width, &at):
            return False
        found[0] = _facts(block, width)[at]
        return True

    cdef Block** expect(self, const uint8_t* key, size_t width) noexcept nogil:
        """Where the block of an address stands that will be looked up; NULL if nowhere.

        Memory is slow: who has many to look up says all of them first, and warms what they
        are to be found in.
        """
        cdef Family* family = &self._ipv4 if width == IPV4_BYTES else &self._ipv6
        cdef Block** expected
        if not family.blocks_count:
            return NULL
        expected = &family.blocks[_block_for(family, key)]
        __builtin_prefetch(expected)
        return expected

    cdef void warm(self, Block** expected) noexcept nogil:
        """Begins to fetch the block's addresses (of IPv6, the first quarter)."""
        cdef size_t at
        cdef const uint8_t* block = <const uint8_t*>expected[0]
        for at in range(<size_t>(BLOCK_KEYS * IPV4_BYTES // LINE_BYTES + 1)):
            __builtin_prefetch(block + at * LINE_BYTES)

    cdef void tell(self, uint32_t found, Facts* facts) noexcept nogil:
        """What is said of an address that was just looked up."""
        read_facts(&self._arena, found, facts)

    cdef bint any_between(
        self, const uint8_t* first, const uint8_t* last, size_t width
    ) noexcept nogil:
        """Whether any address from `first` up to and with `last` is listed."""
        cdef Family* family = &self._ipv4 if width == IPV4_BYTES else &self._ipv6
        cdef Block* block
        cdef size_t number, at
        if not family.blocks_count:
            return False
        number = _block_for(family, first)
        block = family.blocks[number]
        _search(block, first, width, &at)
        if at < block.count:
            return memcmp(block.keys + at * width, last, width) <= 0
        number += 1
        return number < family.blocks_count and (
            memcmp(family.firsts + number * width, last, width) <= 0
        )

    cdef int _put(self, const uint8_t* key, size_t width, uint8_t status, uint16_t since_day,
                  const uint8_t* host, uint8_t host_bytes) except -1:
        cdef Family* family = &self._ipv4 if width == IPV4_BYTES else &self._ipv6
        # What can fail comes first: then the table is as it was.
        cdef uint32_t found = new_facts(&self._arena, status, since_day, host, host_bytes)
        cdef uint32_t* facts
        cdef Block* block
        cdef size_t number, at
        if not family.blocks_count:
            _insert_block(family, 0, key)
        number = _block_for(family, key)
        block = family.blocks[number]
        facts = _facts(block, width)
        if _search(block, key, width, &at):
            free_facts(&self._arena, facts[at])
            facts[at] = found
            return 0
        if block.count == BLOCK_KEYS:
            _split(family, number, at)
            number = _block_for(family, key)
            block = family.blocks[number]
            facts = _facts(block, width)
            _search(block, key, width, &at)
        memmove(block.keys + (at + 1) * width, block.keys + at * width, (block.count - at) * width)
        memmove(&facts[at + 1], &facts[at], (block.count - at) * sizeof(uint32_t))
        memcpy(block.keys + at * width, key, width)
        facts[at] = found
        block.count += 1
        family.count += 1
        if at == 0:
            memcpy(family.firsts + number * width, key, width)
        return 0

    cdef int _remove(self, const uint8_t* key, size_t width) except -1:
        cdef Family* family = &self._ipv4 if width == IPV4_BYTES else &self._ipv6
        cdef uint32_t* facts
        cdef Block* block
        cdef size_t number, at
        if not family.blocks_count:
            return 0
        number = _block_for(family, key)
        block = family.blocks[number]
        if not _search(block, key, width, &at):
            return 0
        facts = _facts(block, width)
        free_facts(&self._arena, facts[at])
        block.count -= 1
        family.count -= 1
        memmove(block.keys + at * width, block.keys + (at + 1) * width, (block.count - at) * width)
        memmove(&facts[at], &facts[at + 1], (block.count - at) * sizeof(uint32_t))
        if block.count == 0:
            _drop_block(family, number)
            return 0
        if at == 0:
            memcpy(family.firsts + number * width, block.keys, width)
        _join(family, number)
        return 0


cdef size_t _width_of(bytes state_key) except 0:
    cdef size_t width = len(state_key) - 1
    if width != IPV4_BYTES and width != IPV6_BYTES:
        raise ValueError(f"an address of {width} bytes")
    return width
