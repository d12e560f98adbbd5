/* What the kernel does for an AF_XDP socket, within this process: frames come in when they are
 * told to, and go out into a buffer. No interface, no privilege, and the same every time.
 *
 * Included before frames.pyx, whose calls of the kernel it takes the place of. Memory of a frame
 * that nothing came into is poisoned, so that the address sanitizer sees it read or written.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/if_xdp.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#if defined(__SANITIZE_ADDRESS__)
#define FAKE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FAKE_SANITIZED 1
#endif
#endif
#ifdef FAKE_SANITIZED
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#endif

enum {
    /* XDP_PACKET_HEADROOM of linux/bpf.h. */
    FAKE_HEADROOM = 256,
    /* An Ethernet header and the MTU: what the filter lets in, and an interface out. */
    FAKE_MOST = 14 + 1500,
    /* TX_BATCH_SIZE of net/xdp/xsk.c. */
    FAKE_SENT_A_CALL = 32,
    FAKE_SENT = 4096,
};

struct fake_ring {
    uint32_t put, pad_put[15], taken, pad_taken[15];
    union {
        uint64_t frames[1];
        struct xdp_desc descriptors[1];
    };
};

static struct {
    uint8_t *memory;
    uint64_t frames, frame_bytes;
    /* By the offset that each is mapped at. */
    struct fake_ring *rx, *tx, *fill, *done;
    uint8_t (*sent)[FAKE_MOST];
    uint32_t sent_bytes[FAKE_SENT], sent_count;
    /* Something that no kernel would have sent. */
    int is_broken;
} fake;

static int fake_socket(int family, int type, int protocol) {
    (void)family, (void)type, (void)protocol;
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static int fake_setsockopt(int fd, int level, int name, const void *value, socklen_t size) {
    (void)fd, (void)level, (void)size;
    if (name == XDP_UMEM_REG) {
        const struct xdp_umem_reg *memory = value;
        fake.memory = (uint8_t *)(uintptr_t)memory->addr;
        fake.frame_bytes = memory->chunk_size;
        fake.frames = memory->len / memory->chunk_size;
        fake.sent = calloc(FAKE_SENT, FAKE_MOST);
        return fake.sent == NULL ? -1 : 0;
    }
    return 0;
}

static int fake_getsockopt(int fd, int level, int name, void *value, socklen_t *size) {
    (void)fd;
    memset(value, 0, *size);
    if (level == SOL_SOCKET) {
        /* The interface is gone: whoever waits for more frames ends. */
        *(int *)value = ENETDOWN;
    } else if (name == XDP_MMAP_OFFSETS) {
        struct xdp_mmap_offsets *offsets = value;
        struct xdp_ring_offset one = {
            offsetof(struct fake_ring, put), offsetof(struct fake_ring, taken),
            offsetof(struct fake_ring, frames), 0};
        offsets->rx = offsets->tx = offsets->fr = offsets->cr = one;
    }
    return 0;
}

static int fake_bind(int fd, const struct sockaddr *address, socklen_t size) {
    (void)fd, (void)address, (void)size;
    ASAN_POISON_MEMORY_REGION(fake.memory, fake.frames * fake.frame_bytes);
    return 0;
}

static void *fake_mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    (void)at, (void)protection, (void)fd;
    void *memory = flags & MAP_ANONYMOUS ? aligned_alloc(4096, size) : calloc(1, size);
    if (memory == NULL) {
        return MAP_FAILED;
    }
    if (flags & MAP_ANONYMOUS) {
        memset(memory, 0, size);
    } else if (offset == (off_t)XDP_PGOFF_RX_RING) {
        fake.rx = memory;
    } else if (offset == (off_t)XDP_PGOFF_TX_RING) {
        fake.tx = memory;
    } else if (offset == (off_t)XDP_UMEM_PGOFF_FILL_RING) {
        fake.fill = memory;
    } else {
        fake.done = memory;
    }
    return memory;
}

static int fake_munmap(void *memory, size_t size) {
    if (memory == fake.memory) {
        ASAN_UNPOISON_MEMORY_REGION(memory, size);
    }
    (void)size;
    free(memory);
    return 0;
}

/* Takes frames from the ring of those to be sent, and gives them back as gone. */
static ssize_t fake_sendto(
    int fd, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t width) {
    (void)fd, (void)data, (void)size, (void)flags, (void)to, (void)width;
    struct fake_ring *tx = fake.tx, *done = fake.done;
    uint64_t mask = fake.frames - 1;
    for (int count = 0; tx->taken != tx->put && count < FAKE_SENT_A_CALL; count++) {
        struct xdp_desc *one = &tx->descriptors[tx->taken & mask];
        uint64_t start = one->addr & (fake.frame_bytes - 1);
        if (one->addr / fake.frame_bytes >= fake.frames || one->len > FAKE_MOST ||
            start + one->len > fake.frame_bytes || one->options != 0) {
            fake.is_broken = 1;
        } else if (fake.sent_count < FAKE_SENT) {
            memcpy(fake.sent[fake.sent_count], fake.memory + one->addr, one->len);
            fake.sent_bytes[fake.sent_count++] = one->len;
        }
        done->frames[done->put++ & mask] = one->addr;
        tx->taken++;
    }
    return 0;
}

static int fake_poll(struct pollfd *waited, unsigned long count, int milliseconds) {
    (void)count, (void)milliseconds;
    waited->revents = 0;
    return 0;
}

/* Has a frame come in; 0 where there is no memory for it. */
static int fake_come(const uint8_t *data, uint32_t size) {
    struct fake_ring *fill = fake.fill, *rx = fake.rx;
    uint64_t mask = fake.frames - 1;
    if (fill->taken == fill->put || size > FAKE_MOST) {
        return 0;
    }
    uint64_t frame = fill->frames[fill->taken++ & mask];
    if (frame / fake.frame_bytes >= fake.frames || frame % fake.frame_bytes != 0) {
        fake.is_broken = 1;
        return 0;
    }
    struct xdp_desc *one = &rx->descriptors[rx->put & mask];
    one->addr = frame + FAKE_HEADROOM, one->len = size, one->options = 0;
    ASAN_UNPOISON_MEMORY_REGION(fake.memory + frame, fake.frame_bytes);
    memcpy(fake.memory + one->addr, data, size);
    ASAN_POISON_MEMORY_REGION(fake.memory + frame, FAKE_HEADROOM);
    ASAN_POISON_MEMORY_REGION(
        fake.memory + one->addr + size, fake.frame_bytes - FAKE_HEADROOM - size);
    rx->put++;
    return 1;
}

/* An answer may be written where a frame came in, as long as a frame may be. */
static void fake_allow(uint64_t address) {
    ASAN_UNPOISON_MEMORY_REGION(fake.memory + address, FAKE_MOST);
}

/* Whether each frame's memory is in one ring, once, and none was lost. */
static int fake_is_whole(void) {
    uint8_t seen[4096] = {0};
    struct fake_ring *rings[2] = {fake.fill, fake.done};
    uint64_t mask = fake.frames - 1, found = 0;
    if (fake.is_broken || fake.frames > sizeof seen || fake.rx->put != fake.rx->taken ||
        fake.tx->put != fake.tx->taken) {
        return 0;
    }
    for (int number = 0; number < 2; number++) {
        struct fake_ring *ring = rings[number];
        for (uint32_t at = ring->taken; at != ring->put; at++) {
            uint64_t frame = ring->frames[at & mask] / fake.frame_bytes;
            if (frame >= fake.frames || seen[frame]++) {
                return 0;
            }
            found++;
        }
    }
    return found == fake.frames;
}

#define socket fake_socket
#define setsockopt fake_setsockopt
#define getsockopt fake_getsockopt
#define bind fake_bind
#define mmap fake_mmap
#define munmap fake_munmap
#define sendto fake_sendto
#define poll fake_poll
