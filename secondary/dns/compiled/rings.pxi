# An AF_XDP socket, its rings and the memory of its frames; part of `frames.pyx`.

cdef extern from "<unistd.h>" nogil:
    int close(int)
    long syscall(long, ...)

cdef extern from "<sys/syscall.h>" nogil:
    long __NR_bpf

cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void*, size_t, int, int, int, long)
    int munmap(void*, size_t)
    void* MAP_FAILED
    int PROT_READ, PROT_WRITE, MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS, MAP_POPULATE

cdef extern from "<sys/socket.h>" nogil:
    struct sockaddr:
        pass
    int socket(int, int, int)
    int setsockopt(int, int, int, const void*, socklen_t)
    int getsockopt(int, int, int, void*, socklen_t*)
    int bind(int, const sockaddr*, socklen_t)
    Py_ssize_t sendto(int, const void*, size_t, int, const void*, socklen_t)
    int AF_INET, AF_INET6, AF_XDP, SOCK_RAW, SOCK_CLOEXEC, MSG_DONTWAIT
    int SOL_XDP, SOL_SOCKET, SO_ERROR

cdef extern from "<linux/if_xdp.h>" nogil:
    struct sockaddr_xdp:
        uint16_t sxdp_family
        uint16_t sxdp_flags
        uint32_t sxdp_ifindex
        uint32_t sxdp_queue_id
    struct xdp_ring_offset:
        uint64_t producer
        uint64_t consumer
        uint64_t desc
    struct xdp_mmap_offsets:
        xdp_ring_offset rx
        xdp_ring_offset tx
        xdp_ring_offset fr
        xdp_ring_offset cr
    struct xdp_umem_reg:
        uint64_t addr
        uint64_t len
        uint32_t chunk_size
    struct xdp_desc:
        uint64_t addr
        uint32_t len
        uint32_t options
    struct xdp_statistics:
        uint64_t rx_dropped
        uint64_t rx_ring_full
    int XDP_STATISTICS, XDP_MMAP_OFFSETS, XDP_RX_RING, XDP_TX_RING, XDP_UMEM_REG
    int XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_COPY
    long XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING
    long XDP_UMEM_PGOFF_FILL_RING, XDP_UMEM_PGOFF_COMPLETION_RING

cdef extern from * nogil:
    """
    static inline uint32_t load_acquire(const uint32_t *at) {
        return __atomic_load_n(at, __ATOMIC_ACQUIRE);
    }
    static inline void store_release(uint32_t *at, uint32_t value) {
        __atomic_store_n(at, value, __ATOMIC_RELEASE);
    }
    """
    uint32_t load_acquire(const uint32_t*)
    void store_release(uint32_t*, uint32_t)

cdef enum:
    # A power of two, as rings are. Each frame is in one ring at most, so none ever overflows.
    FRAMES = 2048
    FRAME_BYTES = 2048
    # Calls to have a batch sent. What is left then goes with the next.
    MAX_KICKS = 64

# What the kernel shares: a ring of frames that one side puts in and the other takes out.
cdef struct Ring:
    uint32_t* put
    uint32_t* taken
    void* entries
    void* mapped
    size_t size


def bpf(int command, attributes not None) -> int:
    """bpf(2): what it returns; OSError. `attributes` is a bytearray, which it may write to."""
    cdef uint8_t[::1] data = attributes
    cdef long result = syscall(__NR_bpf, command, &data[0], len(data))
    if result < 0:
        raise OSError(errno, os.strerror(errno))
    return result


cdef class FrameSocket:
    """An AF_XDP socket at one queue of an interface, with the memory of its frames.

    OSError if it cannot be: it needs CAP_NET_RAW, and a queue that nobody else has.
    """

    cdef readonly int fd
    cdef uint8_t* memory
    cdef Ring fill
    cdef Ring done
    cdef Ring rx
    cdef Ring tx
    cdef uint64_t _dropped

    def __cinit__(self, unsigned int interface, unsigned int queue):
        self.fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0)
        _check(self.fd)
        self._register()
        self._map()
        self._fill()
        cdef sockaddr_xdp here
        memset(&here, 0, sizeof(here))
        here.sxdp_family, here.sxdp_flags = AF_XDP, XDP_COPY
        here.sxdp_ifindex, here.sxdp_queue_id = interface, queue
        _check(bind(self.fd, <sockaddr*>&here, sizeof(here)))

    def __dealloc__(self):
        self.close()

    def close(self):
        """Takes and sends no more, and leaves the queue; who reads it must have ended."""
        if self.fd >= 0:
            close(self.fd)
        self.fd = -1
        # A ring that is mapped keeps the socket as an open descriptor does.
        _unmap(&self.fill)
        _unmap(&self.done)
        _unmap(&self.rx)
        _unmap(&self.tx)
        if self.memory != NULL:
            munmap(self.memory, FRAMES * FRAME_BYTES)
        self.memory = NULL

    def dropped(self):
        """Queries so far for which there was no room; after `close` those that were known."""
        cdef xdp_statistics found
        cdef socklen_t size = sizeof(found)
        memset(&found, 0, sizeof(found))
        if getsockopt(self.fd, SOL_XDP, XDP_STATISTICS, &found, &size) == 0:
            self._dropped = found.rx_dropped + found.rx_ring_full
        return self._dropped

    cdef _register(self):
        cdef int size = FRAMES, option
        cdef xdp_umem_reg memory
        cdef int protection = PROT_READ | PROT_WRITE
        cdef int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE
        cdef void* mapped = mmap(NULL, FRAMES * FRAME_BYTES, protection, flags, -1, 0)
        if mapped == MAP_FAILED:
            raise MemoryError
        self.memory = <uint8_t*>mapped
        memset(&memory, 0, sizeof(memory))
        memory.addr, memory.len = <uintptr_t>mapped, FRAMES * FRAME_BYTES
        memory.chunk_size = FRAME_BYTES
        _check(setsockopt(self.fd, SOL_XDP, XDP_UMEM_REG, &memory, sizeof(memory)))
        for option in (
            XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_RX_RING, XDP_TX_RING
        ):
            _check(setsockopt(self.fd, SOL_XDP, option, &size, sizeof(size)))

    cdef _map(self):
        cdef xdp_mmap_offsets at
        cdef socklen_t size = sizeof(at)
        _check(getsockopt(self.fd, SOL_XDP, XDP_MMAP_OFFSETS, &at, &size))
        cdef size_t address = sizeof(uint64_t), described = sizeof(xdp_desc)
        _map_ring(&self.fill, self.fd, &at.fr, XDP_UMEM_PGOFF_FILL_RING, address)
        _map_ring(&self.done, self.fd, &at.cr, XDP_UMEM_PGOFF_COMPLETION_RING, address)
        _map_ring(&self.rx, self.fd, &at.rx, XDP_PGOFF_RX_RING, described)
        _map_ring(&self.tx, self.fd, &at.tx, XDP_PGOFF_TX_RING, described)

    cdef _fill(self):
        cdef int number
        for number in range(FRAMES):
            (<uint64_t*>self.fill.entries)[number] = <uint64_t>number * FRAME_BYTES
        store_release(self.fill.put, FRAMES)

    cdef bint is_gone(self) noexcept nogil:
        """Whether the interface was removed; one that is down stays."""
        cdef int error = 0
        cdef socklen_t size = sizeof(error)
        return getsockopt(self.fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 or error != 0

    cdef void give(self, uint64_t address) noexcept nogil:
        """Lets a query come into a frame again."""
        cdef uint32_t put = self.fill.put[0]
        (<uint64_t*>self.fill.entries)[put & (FRAMES - 1)] = address & ~<uint64_t>(FRAME_BYTES - 1)
        store_release(self.fill.put, put + 1)

    cdef void give_sent(self) noexcept nogil:
        """Lets queries come into the frames of answers that are gone."""
        cdef uint32_t taken = self.done.taken[0], put = load_acquire(self.done.put)
        while taken != put:
            self.give((<uint64_t*>self.done.entries)[taken & (FRAMES - 1)])
            taken += 1
        store_release(self.done.taken, taken)

    cdef void send(self, uint64_t address, uint32_t size) noexcept nogil:
        """Has a frame sent with the next `kick`."""
        cdef uint32_t put = self.tx.put[0]
        cdef xdp_desc* entry = &(<xdp_desc*>self.tx.entries)[put & (FRAMES - 1)]
        entry.addr, entry.len, entry.options = address, size, 0
        store_release(self.tx.put, put + 1)

    cdef void kick(self) noexcept nogil:
        """Has the kernel send what waits; it takes some 32 a call."""
        cdef int kicks = 0
        while load_acquire(self.tx.taken) != self.tx.put[0] and kicks < MAX_KICKS:
            kicks += 1
            if sendto(self.fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 and errno not in (
                EAGAIN, EBUSY, EINTR, ENOBUFS
            ):
                return


cdef _check(long result):
    if result < 0:
        raise OSError(errno, os.strerror(errno))


cdef _map_ring(Ring* ring, int fd, const xdp_ring_offset* at, long where, size_t width):
    cdef size_t size = at.desc + FRAMES * width
    cdef int flags = MAP_SHARED | MAP_POPULATE
    cdef void* mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, where)
    if mapped == MAP_FAILED:
        raise OSError(errno, os.strerror(errno))
    ring.mapped, ring.size = mapped, size
    ring.put = <uint32_t*>(<uint8_t*>mapped + at.producer)
    ring.taken = <uint32_t*>(<uint8_t*>mapped + at.consumer)
    ring.entries = <uint8_t*>mapped + at.desc


cdef void _unmap(Ring* ring):
    if ring.mapped != NULL:
        munmap(ring.mapped, ring.size)
    ring.mapped = NULL
