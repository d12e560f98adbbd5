# cython: language_level=3, boundscheck=True, wraparound=False, cdivision=True
"""Fills a compiled table with records by the page, and makes the buckets of their state tree.

Only the shape in which records are written is read here (each field at most once, in the order of
their numbers); any other is left to the parser that everybody else uses.
"""

from hashlib import sha256

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort, realloc
from libc.string cimport memcmp, memcpy

from secondary.dns.compiled.table cimport CompiledTable

from registry.batch import outline_slot
from registry.errors import MalformedError
from registry.content import check_stored
from registry.kinds import Kind, Status
from registry.merkle import LEAF_PREFIX
from secondary.dns.table import DAY_SECONDS, LATEST_DAY, LISTED

cdef enum:
    SLOT_BYTES = 72
    HASH_BYTES = 32
    INDEX_BYTES = 8
    BUCKETS = 65536
    IPV4_BYTES = 4
    IPV6_BYTES = 16
    MAX_HOST_BYTES = 253
    MAX_STATUS = 15

# Wire types of a protobuf field.
cdef enum:
    VARINT = 0
    LENGTH = 2

cdef int REGISTRATION = int(Kind.REGISTRATION)
cdef uint64_t DAY_MS = DAY_SECONDS * 1000
cdef uint64_t LATEST = LATEST_DAY
cdef uint8_t LEAF = LEAF_PREFIX[0]
cdef int HOLDER = int(Kind.HOLDER)
cdef bint IS_LISTED[16]
cdef bint IS_KNOWN[16]
for _status in range(16):
    IS_LISTED[<int>_status] = _status in LISTED
    IS_KNOWN[<int>_status] = _status in set(Status)

cdef struct Bytes:
    const uint8_t* at
    size_t size

# A message that is being read: what is left of it, and the field last read.
cdef struct Message:
    const uint8_t* at
    const uint8_t* end
    int field
    int wire_type
    uint64_t number
    Bytes bytes

cdef struct Record:
    uint64_t index
    Bytes entry
    uint64_t kind
    Bytes key
    Bytes payload

cdef struct Registration:
    Bytes host
    uint64_t status
    uint64_t registered_ms


cdef class BulkLoad:
    """One load of one table, which nobody reads yet."""

    cdef CompiledTable _table
    cdef uint8_t* _slots
    cdef size_t _count
    cdef size_t _room

    def __cinit__(self, CompiledTable table not None):
        self._table = table

    def __dealloc__(self):
        free(self._slots)

    def take(self, list records not None):
        """Puts these encoded Records into the table; MalformedError if one is none."""
        cdef bytes data
        for data in records:
            self._take(data)

    def buckets(self):
        """The state tree's buckets with all that was taken, by number; MalformedError if two
        records are of one key. What was taken is forgotten."""
        cdef size_t* begins = <size_t*>calloc(BUCKETS + 1, sizeof(size_t))
        cdef uint8_t* ordered = <uint8_t*>malloc(self._count * SLOT_BYTES + 1)
        cdef bint are_different
        try:
            if begins == NULL or ordered == NULL:
                raise MemoryError
            with nogil:
                are_different = _order(self._slots, self._count, ordered, begins)
            if not are_different:
                raise MalformedError("two slots of one key")
            free(self._slots)
            self._slots, self._count, self._room = NULL, 0, 0
            return {
                number: PyBytes_FromStringAndSize(
                    <char*>ordered + begins[number] * SLOT_BYTES,
                    (begins[number + 1] - begins[number]) * SLOT_BYTES,
                )
                for number in range(BUCKETS)
                if begins[number + 1] > begins[number]
            }
        finally:
            free(begins)
            free(ordered)

    cdef int _take(self, bytes data) except -1:
        cdef Record record
        cdef Registration registration
        if not _read_record(data, len(data), &record):
            state_key, payload, slot = outline_slot(data)
            check_stored(state_key, payload, data)
            self._table.put(state_key, payload, data)
            self._keep(slot)
            return 0
        if record.kind == <uint64_t>REGISTRATION:
            if not _read_registration(&record.payload, &registration):
                state_key, payload, slot = outline_slot(data)
                check_stored(state_key, payload, data)
                self._table.put(state_key, payload, data)
            elif record.key.size != IPV4_BYTES and record.key.size != IPV6_BYTES:
                raise MalformedError(f"an address of {record.key.size} bytes")
            elif IS_LISTED[registration.status]:
                self._table._put(
                    record.key.at, record.key.size, <uint8_t>registration.status,
                    <uint16_t>min(registration.registered_ms // DAY_MS, LATEST),
                    registration.host.at, <uint8_t>registration.host.size,
                )
            else:
                self._table._remove(record.key.at, record.key.size)
        elif record.kind != <uint64_t>HOLDER:
            state_key, payload, slot = outline_slot(data)
            check_stored(state_key, payload, data)
            self._table.put(state_key, payload, data)
        self._keep(_slot(&record))
        return 0

    cdef int _keep(self, bytes slot) except -1:
        cdef size_t room
        cdef void* moved
        if len(slot) != SLOT_BYTES:
            raise MalformedError(f"a slot of {len(slot)} bytes")
        if self._count == self._room:
            room = self._room + self._room // 2 + 4096
            moved = realloc(self._slots, room * SLOT_BYTES)
            if moved == NULL:
                raise MemoryError
            self._slots, self._room = <uint8_t*>moved, room
        memcpy(self._slots + self._count * SLOT_BYTES, <const uint8_t*>slot, SLOT_BYTES)
        self._count += 1
        return 0


cdef bytes _slot(const Record* record):
    """See `registry.state_tree.slot`."""
    cdef bytes key_hash = _hash(<uint8_t>record.kind, &record.key)
    cdef bytes leaf_hash = _hash(LEAF, &record.entry)
    cdef bytes index = record.index.to_bytes(INDEX_BYTES, "big")
    return key_hash + index + leaf_hash


cdef bytes _hash(uint8_t first, const Bytes* rest):
    cdef bytes data = PyBytes_FromStringAndSize(NULL, rest.size + 1)
    cdef uint8_t* to = <uint8_t*><const uint8_t*>data
    to[0] = first
    memcpy(to + 1, rest.at, rest.size)
    return sha256(data).digest()


cdef bint _order(
    const uint8_t* slots, size_t count, uint8_t* ordered, size_t* begins
) noexcept nogil:
    """Sorts the slots, and says where each bucket begins; whether all are of different keys."""
    cdef size_t number, at
    for number in range(count):
        begins[_bucket_of(slots, number) + 1] += 1
    for number in range(<size_t>BUCKETS):
        begins[number + 1] += begins[number]
    # Filled from its end: what it begins at moves down to its first slot.
    for number in range(count):
        at = _bucket_of(slots, number) + 1
        begins[at] -= 1
        memcpy(ordered + begins[at] * SLOT_BYTES, slots + number * SLOT_BYTES, SLOT_BYTES)
    for number in range(<size_t>BUCKETS):
        begins[number] = begins[number + 1]
    begins[BUCKETS] = count
    for number in range(<size_t>BUCKETS):
        qsort(ordered + begins[number] * SLOT_BYTES, begins[number + 1] - begins[number],
              SLOT_BYTES, _compare)
    for number in range(1, count):
        at = number * SLOT_BYTES
        if memcmp(ordered + at - SLOT_BYTES, ordered + at, HASH_BYTES) == 0:
            return False
    return True


cdef inline size_t _bucket_of(const uint8_t* slots, size_t number) noexcept nogil:
    cdef const uint8_t* slot = slots + number * SLOT_BYTES
    return (<size_t>slot[0] << 8) | slot[1]


cdef int _compare(const void* one, const void* other) noexcept nogil:
    return memcmp(one, other, SLOT_BYTES)


# --- protobuf ---------------------------------------------------------------------------


cdef bint _read_record(const uint8_t* data, size_t size, Record* record) noexcept nogil:
    """Whether this is a Record with an Entry and nothing else, in the shape they are written."""
    cdef Message message
    record.index, record.kind = 0, 0
    record.entry.at, record.entry.size = NULL, 0
    record.key.at, record.key.size = data, 0
    record.payload.at, record.payload.size = data, 0
    _begin(&message, data, size)
    while message.at < message.end:
        if not _next(&message):
            return False
        if message.field == 1 and message.wire_type == VARINT:
            record.index = message.number
        elif message.field == 2 and message.wire_type == LENGTH:
            record.entry = message.bytes
        else:
            return False
    if record.entry.at == NULL:
        return False
    _begin(&message, record.entry.at, record.entry.size)
    while message.at < message.end:
        if not _next(&message):
            return False
        if message.field == 1 and message.wire_type == VARINT:
            record.kind = message.number
        elif message.field == 2 and message.wire_type == LENGTH:
            record.key = message.bytes
        elif 3 <= message.field <= 5 and message.wire_type == VARINT:
            pass
        elif message.field == 6 and message.wire_type == LENGTH:
            record.payload = message.bytes
        else:
            return False
    return 0 < record.kind < 128


cdef bint _read_registration(const Bytes* payload, Registration* registration) noexcept nogil:
    """Whether this is a Registration in the shape they are written, its host name ASCII, its
    status one that is known."""
    cdef Message message
    cdef size_t at
    registration.host.at, registration.host.size = payload.at, 0
    registration.status, registration.registered_ms = 0, 0
    _begin(&message, payload.at, payload.size)
    while message.at < message.end:
        if not _next(&message):
            return False
        if message.field == 2 and message.wire_type == LENGTH:
            registration.host = message.bytes
        elif message.field == 4 and message.wire_type == VARINT:
            registration.status = message.number
        elif message.field == 5 and message.wire_type == VARINT:
            registration.registered_ms = message.number
        elif message.field not in (1, 3) or message.wire_type != LENGTH:
            # A reason may be any text, whose encoding would have to be looked at.
            return False
    if registration.host.size > MAX_HOST_BYTES or registration.status > MAX_STATUS:
        return False
    if not IS_KNOWN[registration.status]:
        return False
    for at in range(registration.host.size):
        if registration.host.at[at] > 126:
            return False
    return True


cdef void _begin(Message* message, const uint8_t* at, size_t size) noexcept nogil:
    message.at, message.end, message.field = at, at + size, 0


cdef bint _next(Message* message) noexcept nogil:
    """Whether another field follows, of a higher number than the last; it is then read."""
    cdef uint64_t tag
    cdef int field
    if not _varint(message, &tag) or tag >= 256:
        return False
    field = <int>(tag >> 3)
    if field <= message.field:
        return False
    message.field, message.wire_type = field, <int>(tag & 7)
    if not _varint(message, &message.number):
        return False
    if message.wire_type == LENGTH:
        if message.number > <uint64_t>(message.end - message.at):
            return False
        message.bytes.at, message.bytes.size = message.at, message.number
        message.at += message.number
    return message.wire_type == LENGTH or message.wire_type == VARINT


cdef bint _varint(Message* message, uint64_t* value) noexcept nogil:
    cdef int shift = 0
    cdef uint8_t byte
    value[0] = 0
    while message.at < message.end and shift < 63:
        byte = message.at[0]
        message.at += 1
        value[0] |= <uint64_t>(byte & 0x7F) << shift
        if byte < 0x80:
            return True
        shift += 7
    return False
