# cython: language_level=3
"""What a listener has that takes its datagrams from elsewhere than a UDP socket."""

from libc.stdint cimport uint8_t, uint64_t

from secondary.dns.compiled.answering cimport Counts, FastPath
from secondary.dns.compiled.table cimport CompiledTable

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void* iov_base
        size_t iov_len

cdef extern from "<netinet/in.h>" nogil:
    struct in_addr:
        unsigned int s_addr
    struct in6_addr:
        uint8_t s6_addr[16]
    struct sockaddr_in:
        in_addr sin_addr
    # The longest that comes here.
    struct sockaddr_in6:
        unsigned short sin6_family
        in6_addr sin6_addr

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct msghdr:
        void* msg_name
        socklen_t msg_namelen
        iovec* msg_iov
        size_t msg_iovlen
        void* msg_control
        size_t msg_controllen
        int msg_flags
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len

cdef enum:
    # As many as come in a few hundred microseconds at most.
    BATCH = 64

# One datagram's way in and out; its bytes stand elsewhere.
cdef struct Slot:
    iovec data_in
    iovec data_out
    sockaddr_in6 peer
    uint8_t control[64]


cdef class BatchListener:
    cdef int _fd
    cdef FastPath _fast
    cdef CompiledTable _table
    cdef object _get_table
    cdef object _answer
    cdef object _counter
    cdef object _limited
    cdef volatile bint _stopping
    cdef Slot* _slots
    cdef uint8_t* _wires
    # The answers of a batch, one after another.
    cdef uint8_t* _answers
    cdef int _received
    cdef mmsghdr _in[64]
    cdef mmsghdr _out[64]
    cdef Counts _counts

    cdef void _settle(self)
    cdef void _note_time(self, int answers, uint64_t took_us) noexcept nogil
    cdef void _prepare(self)
    cdef void _renew(self, int count) noexcept nogil
    cdef int _receive(self) noexcept nogil
    cdef int _answer_batch(self, int count, uint64_t now_us, int* declined) noexcept nogil
    cdef void _warm(self, int count) noexcept nogil
    cdef void _ask(self, int number)
    cdef void _send_asked(self, int* numbers, int count)
    cdef void _send(self, const int* numbers, int count) noexcept nogil
