# cython: language_level=3, boundscheck=True, wraparound=False, cdivision=True
"""Queries as Ethernet frames, through an AF_XDP socket: past the kernel's IP and UDP.

What comes is checked as the kernel would have: lengths, checksums, sources that nobody has. An
answer goes back to the link address that its query came from, which is the router's or the
client's, so that nothing is routed.
"""

from libc.errno cimport EAGAIN, EBUSY, EINTR, ENOBUFS, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset

import os

from secondary.dns.compiled.listener cimport BATCH, BatchListener, Slot, sockaddr_in, socklen_t

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd*, unsigned long, int)
    int POLLIN

cdef enum:
    # Of Ethernet; the filter lets nothing longer come here either.
    MTU = 1500
    WAIT_MS = 250

# In one unit of C, so that the compiler sees all of it at once.
include "rings.pxi"
include "headers.pxi"


cdef class FrameListener(BatchListener):
    """Serves one AF_XDP socket, until `stop` or until its interface is gone."""

    cdef FrameSocket _frames
    # Of the batch at hand: where each query stands, and how long its headers are.
    cdef uint64_t _at[64]
    cdef int _headers[64]
    cdef bint _kept[64]

    def __cinit__(self, int fd, *arguments):
        self._frames = None

    def serve(self, FrameSocket frames not None):
        """As `run`, on this socket."""
        self._frames = frames
        self.run()

    cdef void _give_back(self) noexcept nogil:
        """The frames of the last batch that did not become answers, and those that are gone."""
        cdef int number
        for number in range(self._received):
            if self._kept[number]:
                self._frames.give(self._at[number])
        self._received = 0
        self._frames.give_sent()

    cdef int _receive(self) noexcept nogil:
        cdef Ring* rx = &self._frames.rx
        cdef uint32_t taken = rx.taken[0], count
        cdef xdp_desc* entry
        self._give_back()
        count = load_acquire(rx.put) - taken
        if count == 0:
            # What could not be sent with its batch has no other to go with.
            self._frames.kick()
            self._wait()
            count = load_acquire(rx.put) - taken
        if count > BATCH:
            count = BATCH
        while count:
            entry = &(<xdp_desc*>rx.entries)[taken & (FRAMES - 1)]
            if self._take(self._received, entry.addr, entry.len):
                self._kept[self._received] = True
                self._received += 1
            else:
                self._frames.give(entry.addr)
            taken += 1
            count -= 1
        store_release(rx.taken, taken)
        return self._received

    cdef void _wait(self) noexcept nogil:
        cdef pollfd waited
        waited.fd, waited.events, waited.revents = self._frames.fd, <short>POLLIN, 0
        poll(&waited, 1, WAIT_MS)
        if not waited.revents & POLLIN and self._frames.is_gone():
            self._stopping = True

    cdef bint _take(self, int number, uint64_t address, uint32_t size) noexcept nogil:
        """Whether a frame is a datagram whole and right, which is then the slot's."""
        cdef Slot* slot = &self._slots[number]
        cdef uint8_t* ip = self._frames.memory + address + LINK_HEADER
        cdef int header, length
        if size < LINK_HEADER + IPV4_HEADER + UDP_HEADER:
            return False
        if ip[0] >> 4 == 4:
            header, length = IPV4_HEADER, _udp_length_4(ip, size - LINK_HEADER)
            slot.peer.sin6_family = AF_INET
            memcpy(&(<sockaddr_in*>&slot.peer).sin_addr, ip + 12, 4)
        else:
            header, length = IPV6_HEADER, _udp_length_6(ip, size - LINK_HEADER)
            slot.peer.sin6_family = AF_INET6
            memcpy(&slot.peer.sin6_addr, ip + 8, 16)
        if length < UDP_HEADER:
            return False
        self._at[number], self._headers[number] = address, header + UDP_HEADER
        slot.data_in.iov_base = ip + header + UDP_HEADER
        self._in[number].msg_len = length - UDP_HEADER
        return True

    cdef void _send(self, const int* numbers, int count) noexcept nogil:
        cdef int at, number
        cdef size_t size
        cdef uint8_t* frame
        cdef Slot* slot
        for at in range(count):
            number = numbers[at]
            slot = &self._slots[number]
            size = self._headers[number] + slot.data_out.iov_len
            if size > MTU:
                self._counts.ignored += 1
                continue
            frame = self._frames.memory + self._at[number]
            memcpy(
                frame + LINK_HEADER + self._headers[number],
                slot.data_out.iov_base, slot.data_out.iov_len,
            )
            _turn_round(frame, size)
            self._frames.send(self._at[number], LINK_HEADER + size)
            self._kept[number] = False
        if count:
            self._frames.kick()
