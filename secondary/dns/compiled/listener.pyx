# cython: language_level=3, boundscheck=True, wraparound=False, cdivision=True
"""Datagrams in batches: read with one call, answered without the GIL, sent with one call.

What the fast path declines is answered by the responder after the rest of its batch was sent.
"""

from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from secondary.dns.compiled.answering cimport (
    DECLINED,
    RCODES,
    TIME_BUCKETS,
    TYPES,
    Client,
    Counts,
    FastPath,
)
from secondary.dns.compiled.table cimport Block, CompiledTable

from secondary.dns.transport import answer_or_silence

cdef extern from "<time.h>" nogil:
    ctypedef long time_t
    struct timespec:
        time_t tv_sec
        long tv_nsec
    int clock_gettime(int, timespec*)
    int CLOCK_REALTIME
    int CLOCK_MONOTONIC

cdef extern from "<sys/socket.h>" nogil:
    struct cmsghdr:
        size_t cmsg_len
        int cmsg_level
        int cmsg_type
    int recvmmsg(int, mmsghdr*, unsigned int, int, timespec*)
    int sendmmsg(int, mmsghdr*, unsigned int, int)
    cmsghdr* CMSG_FIRSTHDR(msghdr*)
    uint8_t* CMSG_DATA(cmsghdr*)
    int MSG_WAITFORONE
    int AF_INET

cdef extern from "<netinet/in.h>" nogil:
    struct in_pktinfo:
        int ipi_ifindex
        in_addr ipi_addr
    struct in6_pktinfo:
        unsigned int ipi6_ifindex
    int IPPROTO_IP
    int IPPROTO_IPV6

cdef enum:
    MAX_QUERY_BYTES = 4096
    MAX_ANSWER_BYTES = 4096
    # No power of two: what is hot of 64 queries must not compete for the same lines of a cache.
    QUERY_STRIDE = 4096 + 192
    CONTROL_BYTES = 64
    # How long what is counted here is not seen: whatever takes the GIL may have to wait for it.
    SETTLE_US = 500000


cdef class BatchListener:
    """Serves one UDP socket, whose descriptor it borrows, from `run` until `stop`."""

    def __cinit__(self, int fd, FastPath fast not None, get_table, answer, counter, limited):
        """`get_table`: the table to answer from, or None; `answer`: what is asked for all that
        `fast` declines; `counter` and `limited`: lists that take what was counted."""
        self._fd = fd
        self._fast = fast
        self._get_table = get_table
        self._answer = answer
        self._counter = counter
        self._limited = limited
        self._slots = <Slot*>calloc(BATCH, sizeof(Slot))
        self._wires = <uint8_t*>calloc(BATCH, QUERY_STRIDE)
        self._answers = <uint8_t*>calloc(BATCH, MAX_ANSWER_BYTES)
        if self._slots == NULL or self._wires == NULL or self._answers == NULL:
            raise MemoryError
        memset(&self._counts, 0, sizeof(Counts))
        self._prepare()

    def __dealloc__(self):
        free(self._slots)
        free(self._wires)
        free(self._answers)

    def stop(self):
        """Has `run` return when the batch at hand is answered, or nothing came for a while."""
        self._stopping = True

    def run(self):
        """Answers until it is told to stop."""
        cdef int count, number
        cdef int declined_count
        cdef int declined[64]
        cdef uint64_t now_us = 0, settled_us = 0
        self._settle()
        while not self._stopping:
            declined_count = 0
            with nogil:
                count = self._receive()
                now_us = _now_us()
                if count > 0:
                    declined_count = self._answer_batch(count, now_us, declined)
                    self._note_time(count - declined_count, _now_us() - now_us)
            for number in range(declined_count):
                self._ask(declined[number])
            if declined_count:
                self._send_asked(declined, declined_count)
                self._note_time(declined_count, _now_us() - now_us)
            if now_us - settled_us >= SETTLE_US or (
                self._table is not None and self._table.is_retired
            ):
                self._settle()
                settled_us = now_us
        self._settle()

    cdef void _settle(self):
        """Hands over what was counted, and takes the table that serves now."""
        cdef int number, type
        self._table = self._get_table()
        answers = self._counter.answers
        for type in range(TYPES):
            for number in range(RCODES):
                if self._counts.answered[type][number]:
                    answers[type * RCODES + number] += self._counts.answered[type][number]
        times = self._counter.times
        for number in range(TIME_BUCKETS):
            times[number] += self._counts.times[number]
        self._counter.total_us += self._counts.total_us
        for number in range(3):
            self._limited[number] += self._counts.limited[number]
        self._counter.ignored += self._counts.ignored
        memset(&self._counts, 0, sizeof(Counts))

    cdef void _note_time(self, int answers, uint64_t took_us) noexcept nogil:
        """See `AnswerCounter.took`."""
        cdef int bucket = 0
        while bucket < TIME_BUCKETS - 1 and took_us >> (bucket + 3):
            bucket += 1
        self._counts.times[bucket] += answers
        self._counts.total_us += answers * took_us

    cdef void _prepare(self):
        """Says once what stays as it is, of the headers for what comes and what goes."""
        cdef int number
        cdef Slot* slot
        cdef msghdr* header
        for number in range(BATCH):
            slot = &self._slots[number]
            slot.data_in.iov_base = self._wires + number * QUERY_STRIDE
            slot.data_in.iov_len = MAX_QUERY_BYTES
            header = &self._in[number].msg_hdr
            header.msg_name, header.msg_control = &slot.peer, slot.control
            header.msg_iov, header.msg_iovlen = &slot.data_in, 1
            self._out[number].msg_hdr.msg_iovlen = 1
        self._renew(BATCH)

    cdef void _renew(self, int count) noexcept nogil:
        """Makes room again in the headers of the first datagrams."""
        cdef int number
        for number in range(count):
            self._in[number].msg_hdr.msg_namelen = sizeof(sockaddr_in6)
            self._in[number].msg_hdr.msg_controllen = CONTROL_BYTES

    cdef int _receive(self) noexcept nogil:
        """How many datagrams came; less than one when none did in time, or something failed."""
        self._renew(self._received)
        self._received = max(recvmmsg(self._fd, self._in, BATCH, MSG_WAITFORONE, NULL), 0)
        return self._received

    cdef int _answer_batch(self, int count, uint64_t now_us, int* declined) noexcept nogil:
        """Answers and sends; how many were declined, and the numbers of these."""
        cdef int number, ready = 0, declined_count = 0
        cdef int answered[64]
        cdef Py_ssize_t size
        cdef Client client
        cdef Slot* slot
        cdef uint8_t* out = self._answers
        cdef int64_t now_s = _now_s()
        cdef bint has_table = self._table is not None
        cdef bint serves = False
        if has_table:
            self._table.lock_for_reading()
            serves = not self._table.is_retired
        if serves:
            self._warm(count)
        for number in range(count):
            slot = &self._slots[number]
            size = DECLINED
            _read_client(slot, &client)
            if serves:
                size = self._fast.answer(
                    self._table, <uint8_t*>slot.data_in.iov_base, self._in[number].msg_len,
                    &client, now_s, now_us, out, &self._counts,
                )
            if size > 0:
                slot.data_out.iov_base, slot.data_out.iov_len = out, size
                out += size
                answered[ready] = number
                ready += 1
            elif size == DECLINED:
                declined[declined_count] = number
                declined_count += 1
        if has_table:
            self._table.unlock()
        self._send(answered, ready)
        return declined_count

    cdef void _warm(self, int count) noexcept nogil:
        """Has what the batch will be answered from fetched, all of it at once."""
        cdef int number
        cdef Block* *expected[64]
        for number in range(count):
            expected[number] = self._fast.expect(
                self._table, <uint8_t*>self._slots[number].data_in.iov_base,
                self._in[number].msg_len,
            )
        for number in range(count):
            if expected[number] != NULL:
                self._table.warm(expected[number])

    cdef void _ask(self, int number):
        """Has the responder answer; nothing will be sent if it does not."""
        cdef Slot* slot = &self._slots[number]
        cdef Client client
        cdef bytes reply
        cdef const uint8_t* data
        _read_client(slot, &client)
        slot.data_out.iov_len = 0
        reply = answer_or_silence(
            self._answer,
            (<char*>slot.data_in.iov_base)[: self._in[number].msg_len],
            self._counter,
            (<char*>client.packed)[: client.width],
        )
        if reply is not None and len(reply) <= MAX_ANSWER_BYTES:
            data = reply
            # What was answered at once is gone, and its place with it.
            slot.data_out.iov_base = self._answers + number * MAX_ANSWER_BYTES
            memcpy(slot.data_out.iov_base, data, len(reply))
            slot.data_out.iov_len = len(reply)
            self._counter.answered(reply)

    cdef void _send_asked(self, int* numbers, int count):
        cdef int ready = 0, at
        cdef int filled[64]
        for at in range(count):
            if self._slots[numbers[at]].data_out.iov_len:
                filled[ready] = numbers[at]
                ready += 1
        with nogil:
            self._send(filled, ready)

    cdef void _send(self, const int* numbers, int count) noexcept nogil:
        cdef int at = 0, sent
        cdef Slot* slot
        cdef msghdr* header
        cdef const msghdr* came
        for at in range(count):
            slot = &self._slots[numbers[at]]
            came = &self._in[numbers[at]].msg_hdr
            header = &self._out[at].msg_hdr
            header.msg_name, header.msg_namelen = came.msg_name, came.msg_namelen
            header.msg_iov = &slot.data_out
            header.msg_control, header.msg_controllen = came.msg_control, came.msg_controllen
            _answer_from_there(header)
        at = 0
        while at < count:
            sent = sendmmsg(self._fd, &self._out[at], count - at, 0)
            if sent > 0:
                at += sent
            elif errno != EINTR:
                # An address that nobody can be reached at (a forged one, port 0): its loss.
                self._counts.ignored += 1
                at += 1


cdef void _answer_from_there(msghdr* header) noexcept nogil:
    """Has the answer leave from where the query went, by whichever way routing takes."""
    cdef cmsghdr* control
    cdef in_pktinfo* ipv4
    if header.msg_controllen == 0:
        header.msg_control = NULL
        return
    control = CMSG_FIRSTHDR(header)
    if control == NULL:
        header.msg_control, header.msg_controllen = NULL, 0
    elif control.cmsg_level == IPPROTO_IP:
        ipv4 = <in_pktinfo*>CMSG_DATA(control)
        ipv4.ipi_ifindex, ipv4.ipi_addr.s_addr = 0, 0
    else:
        (<in6_pktinfo*>CMSG_DATA(control)).ipi6_ifindex = 0


cdef void _read_client(Slot* slot, Client* client) noexcept nogil:
    if slot.peer.sin6_family == AF_INET:
        client.packed = <uint8_t*>&(<sockaddr_in*>&slot.peer).sin_addr
        client.width = 4
    else:
        client.packed = <uint8_t*>&(<sockaddr_in6*>&slot.peer).sin6_addr
        client.width = 16


cdef uint64_t _now_us() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000000 + now.tv_nsec // 1000


cdef int64_t _now_s() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return now.tv_sec
