from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from secondary.dns.compiled.table cimport Block, CompiledTable

cdef enum:
    MAX_ZONES = 8
    MAX_KEYS = 3
    MAX_SPECIAL = 64
    MAX_ABOVE = 16
    # A TXT of a listing is the longest: a question, 48 bytes and a host name, an OPT.
    OUT_BYTES = 1232
    # As `secondary.dns.counters` has them.
    TYPES = 9
    RCODES = 16
    TIME_BUCKETS = 16

cdef enum Verdict:
    DECLINED = -1
    SILENCE = 0

cdef struct Zone:
    int kind
    size_t origin_bytes
    uint8_t origin[256]
    # The SOA record after its owner, the serial 20 bytes before its end.
    size_t absence_bytes
    uint8_t absence[560]
    # The TXT record's data of what is always listed, or of all that is not.
    size_t text_bytes
    uint8_t text[512]

cdef struct Name:
    size_t size
    uint8_t bytes[256]

cdef struct Range:
    size_t width
    uint8_t first[16]
    uint8_t last[16]

# What limits took; what was answered, by type and by response code; and how long that took.
cdef struct Counts:
    uint64_t answered[9][16]
    uint64_t times[16]
    uint64_t total_us
    uint64_t limited[3]
    uint64_t ignored

# The secrets of cookies; the first makes them.
cdef struct Secrets:
    int count
    uint8_t keys[3][16]

# See `secondary.dns.rate_limit`.
cdef struct Limits:
    uint8_t key[16]
    uint64_t costs_us[3]
    uint64_t* slots
    uint64_t mask

cdef struct Client:
    const uint8_t* packed
    size_t width

# A query taken apart; all that points does so into its bytes, or those of `name`.
cdef struct Query:
    const uint8_t* wire
    size_t size
    uint16_t flags
    # The name in lower case, as it stands in the query; its labels begin at `labels`.
    uint8_t name[256]
    size_t name_bytes
    uint8_t labels[128]
    int labels_count
    uint16_t type
    uint16_t class_
    size_t question_bytes
    bint has_edns
    uint16_t payload_bytes
    uint8_t version
    bint dnssec_ok
    bint wants_nsid
    const uint8_t* cookie
    size_t cookie_bytes

# An answer under way.
cdef struct Answer:
    uint8_t* out
    size_t size
    int rcode
    bint is_authoritative
    bint has_answer
    bint has_authority
    int extended_rcode
    const uint8_t* extended_error
    size_t extended_error_bytes

cdef class FastPath:
    cdef int _zones_count
    cdef Zone _zones[8]
    cdef int _above_count
    cdef Name _above[16]
    cdef int _special_count
    cdef Range _special[64]
    cdef Secrets _secrets
    cdef bint _tells_nsid
    cdef Limits _limits
    # Keeps what the limits point at.
    cdef uint64_t[::1] _slots_view
    cdef uint8_t _status_words[16][16]
    cdef uint8_t _status_bytes[16]

    cdef Py_ssize_t answer(
        self, CompiledTable table, const uint8_t* wire, size_t size, const Client* client,
        int64_t now_s, uint64_t now_us, uint8_t* out, Counts* counts,
    ) noexcept nogil
    cdef Block** expect(
        self, CompiledTable table, const uint8_t* wire, size_t size
    ) noexcept nogil
    cdef bint _decide(
        self, CompiledTable table, Query* query, Answer* answer
    ) noexcept nogil
    cdef Zone* _zone_of(self, Query* query, int* below) noexcept nogil
    cdef void _answer_dashed(
        self, CompiledTable table, Query* query, Answer* answer, int below
    ) noexcept nogil
    cdef void _answer_listed(
        self, CompiledTable table, Zone* zone, Query* query, Answer* answer, int below
    ) noexcept nogil
    cdef void _answer_unlisted(
        self, CompiledTable table, Zone* zone, Query* query, Answer* answer, int below
    ) noexcept nogil
    cdef bint _is_special(self, const uint8_t* key, size_t width) noexcept nogil
    cdef void _add_facts(
        self, Answer* answer, CompiledTable table, uint32_t found
    ) noexcept nogil
    cdef Py_ssize_t _finish_bare(
        self, Query* query, int rcode, const Client* client, uint64_t now_us, uint8_t* out,
        Counts* counts,
    ) noexcept nogil
    cdef Py_ssize_t _finish(
        self, Query* query, Answer* answer, const uint8_t* cookie, const Client* client,
        bint is_known, uint64_t now_us, Counts* counts,
    ) noexcept nogil
