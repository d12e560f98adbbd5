# cython: language_level=3, boundscheck=True, wraparound=False, cdivision=True
"""The AF_XDP front as it stands, on a kernel that is not there; see xdp.h."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

# Before all else, for it takes the place of what else is included.
cdef extern from "xdp.h" nogil:
    enum:
        FAKE_MOST
    int fake_come(const uint8_t*, uint32_t)
    void fake_allow(uint64_t)
    int fake_is_whole()

cdef extern from * nogil:
    """
    static uint32_t fake_sent_count(void) { return fake.sent_count; }
    static uint32_t fake_sent_size(uint32_t at) { return fake.sent_bytes[at]; }
    static const char *fake_sent_data(uint32_t at) { return (const char *)fake.sent[at]; }
    static void fake_forget_sent(void) { fake.sent_count = 0; }
    """
    uint32_t fake_sent_count()
    uint32_t fake_sent_size(uint32_t)
    const char* fake_sent_data(uint32_t)
    void fake_forget_sent()

include "frames.pyx"


cdef class FuzzedListener(FrameListener):
    """Serves what is given to it, and ends."""

    cdef void _send(self, const int* numbers, int count) noexcept nogil:
        cdef int at
        for at in range(count):
            fake_allow(self._at[numbers[at]])
        FrameListener._send(self, numbers, count)

    def exchange(self, FrameSocket frames not None, list came):
        """The frames that go out when these have come in. AssertionError: memory was lost."""
        cdef bytes frame
        cdef uint32_t at
        for frame in came:
            assert fake_come(frame, len(frame)), "no room"
        self._stopping = False
        self.serve(frames)
        assert fake_is_whole(), "a frame's memory is in no ring, or in two"
        sent = [fake_sent_data(at)[: fake_sent_size(at)] for at in range(fake_sent_count())]
        fake_forget_sent()
        return sent
