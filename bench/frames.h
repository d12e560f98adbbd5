/* Queries sent, and answers taken, as Ethernet frames of one device: AF_XDP without libraries.
 *
 * IPv4 without options, from the port FROM_PORT. Needs root.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum {
    RING = 2048,
    FRAME_BYTES = 2048,
    FRAMES = 2 * RING,
    IP_AT = 14,
    UDP_AT = IP_AT + 20,
    DNS_AT = UDP_AT + 8,
    FROM_PORT = 40000,
    /* From attaching to sending: who measures places the device's threads meanwhile. */
    SETTLE_US = 150000,
};

struct ring {
    uint32_t *put, *taken;
    void *entries;
};

static struct {
    int socket;
    uint8_t *memory;
    struct ring fill, done, rx, tx;
    uint32_t given, gone, received, sent;
    uint64_t unused[FRAMES];
    unsigned unused_count;
    /* All headers of a query; lengths and checksums apart. */
    uint8_t model[DNS_AT];
} frames;

static void fail(const char *what);

static long call_bpf(int command, union bpf_attr *with) {
    return syscall(__NR_bpf, command, with, sizeof *with);
}

static struct ring map_ring(const struct xdp_ring_offset *at, size_t width, uint64_t where) {
    uint8_t *memory = mmap(NULL, at->desc + RING * width, PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_POPULATE, frames.socket, (off_t)where);
    if (memory == MAP_FAILED) fail("mmap");
    return (struct ring){(void *)(memory + at->producer), (void *)(memory + at->consumer),
                         memory + at->desc};
}

static uint32_t theirs(const uint32_t *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }

static void tell(uint32_t *at, uint32_t value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }

static void open_rings(unsigned device) {
    struct rlimit most = {RLIM_INFINITY, RLIM_INFINITY};
    struct xdp_mmap_offsets at;
    socklen_t size = sizeof at;
    int entries = RING;
    setrlimit(RLIMIT_MEMLOCK, &most);
    frames.memory = mmap(NULL, (size_t)FRAMES * FRAME_BYTES, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    struct xdp_umem_reg umem = {.addr = (uintptr_t)frames.memory,
                                .len = (uint64_t)FRAMES * FRAME_BYTES, .chunk_size = FRAME_BYTES};
    if ((frames.socket = socket(AF_XDP, SOCK_RAW, 0)) < 0) fail("AF_XDP");
    if (setsockopt(frames.socket, SOL_XDP, XDP_UMEM_REG, &umem, sizeof umem)) fail("umem");
    int options[] = {XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_RX_RING, XDP_TX_RING};
    for (unsigned i = 0; i < 4; i++)
        if (setsockopt(frames.socket, SOL_XDP, options[i], &entries, sizeof entries)) fail("ring");
    if (getsockopt(frames.socket, SOL_XDP, XDP_MMAP_OFFSETS, &at, &size)) fail("offsets");
    frames.rx = map_ring(&at.rx, sizeof(struct xdp_desc), XDP_PGOFF_RX_RING);
    frames.tx = map_ring(&at.tx, sizeof(struct xdp_desc), XDP_PGOFF_TX_RING);
    frames.fill = map_ring(&at.fr, sizeof(uint64_t), XDP_UMEM_PGOFF_FILL_RING);
    frames.done = map_ring(&at.cr, sizeof(uint64_t), XDP_UMEM_PGOFF_COMPLETION_RING);
    for (uint64_t i = 0; i < RING; i++) {
        ((uint64_t *)frames.fill.entries)[i] = i * FRAME_BYTES;
        frames.unused[frames.unused_count++] = (RING + i) * FRAME_BYTES;
    }
    tell(frames.fill.put, frames.given = RING);
    struct sockaddr_xdp here = {
        .sxdp_family = AF_XDP, .sxdp_ifindex = device, .sxdp_flags = XDP_COPY};
    if (bind(frames.socket, (struct sockaddr *)&here, sizeof here)) fail("bind");
}

/* Has what comes from a UDP port over IPv4 be ours; the program goes with the process. */
static void attach(unsigned device, int port) {
    uint32_t queue = 0, value = (uint32_t)frames.socket;
    union bpf_attr with = {.map_type = BPF_MAP_TYPE_XSKMAP, .key_size = 4, .value_size = 4,
                           .max_entries = 1};
    int map = (int)call_bpf(BPF_MAP_CREATE, &with);
    with = (union bpf_attr){.map_fd = (uint32_t)map, .key = (uintptr_t)&queue,
                            .value = (uintptr_t)&value};
    if (map < 0 || call_bpf(BPF_MAP_UPDATE_ELEM, &with)) fail("map");
#define DO(code_, to, from, offset, number) \
    {.code = (code_), .dst_reg = (to), .src_reg = (from), .off = (offset), .imm = (number)}
#define LOAD(size, to, from, offset) DO(BPF_LDX | BPF_MEM | (size), to, from, offset, 0)
#define UNLESS(number, skipped) DO(BPF_JMP | BPF_JNE | BPF_K, 5, 0, skipped, number)
    struct bpf_insn code[] = {
        LOAD(BPF_W, 2, 1, 0), LOAD(BPF_W, 3, 1, 4),
        DO(BPF_ALU64 | BPF_MOV | BPF_X, 4, 2, 0, 0), DO(BPF_ALU64 | BPF_ADD | BPF_K, 4, 0, 0, DNS_AT),
        DO(BPF_JMP | BPF_JGT | BPF_X, 4, 3, 14, 0),
        LOAD(BPF_H, 5, 2, 12), UNLESS(htons(ETH_P_IP), 12),
        LOAD(BPF_B, 5, 2, IP_AT), UNLESS(0x45, 10),
        LOAD(BPF_B, 5, 2, IP_AT + 9), UNLESS(IPPROTO_UDP, 8),
        LOAD(BPF_H, 5, 2, UDP_AT), UNLESS(htons((uint16_t)port), 6),
        LOAD(BPF_W, 2, 1, 16),
        DO(BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_FD, 0, map), DO(0, 0, 0, 0, 0),
        DO(BPF_ALU64 | BPF_MOV | BPF_K, 3, 0, 0, XDP_PASS),
        DO(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_redirect_map), DO(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
        DO(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, XDP_PASS), DO(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)};
    with = (union bpf_attr){.prog_type = BPF_PROG_TYPE_XDP, .insns = (uintptr_t)code,
                            .insn_cnt = sizeof code / sizeof *code,
                            .license = (uintptr_t) "Apache-2.0"};
    int program = (int)call_bpf(BPF_PROG_LOAD, &with);
    if (program < 0) fail("filter");
    with = (union bpf_attr){.link_create = {.prog_fd = (uint32_t)program, .target_ifindex = device,
                                            .attach_type = BPF_XDP}};
    if (call_bpf(BPF_LINK_CREATE, &with) < 0) fail("attach");
}

static void make_model(const char *device, const char *link, const char *address, int port) {
    struct ifreq own = {0};
    int any = socket(AF_INET, SOCK_DGRAM, 0);
    uint8_t *at = frames.model, *ip = at + IP_AT, *udp = at + UDP_AT;
    strncpy(own.ifr_name, device, IFNAMSIZ - 1);
    if (sscanf(link, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", at, at + 1, at + 2, at + 3, at + 4, at + 5) != 6)
        fail(link);
    if (ioctl(any, SIOCGIFHWADDR, &own)) fail(device);
    memcpy(at + 6, own.ifr_hwaddr.sa_data, 6);
    if (ioctl(any, SIOCGIFADDR, &own)) fail(device);
    memcpy(ip + 12, own.ifr_addr.sa_data + 2, 4);
    close(any);
    at[12] = ETH_P_IP >> 8, ip[0] = 0x45, ip[6] = 0x40, ip[8] = 64, ip[9] = IPPROTO_UDP;
    if (inet_pton(AF_INET, address, ip + 16) != 1) fail(address);
    udp[0] = FROM_PORT >> 8, udp[1] = FROM_PORT & 255;
    udp[2] = (uint8_t)(port >> 8), udp[3] = (uint8_t)port;
}

/* RFC 1071, in the order of the machine's bytes; UDP writes all ones for none. */
static void put_sum(uint8_t *at, const uint8_t *data, size_t size, uint64_t sum) {
    uint32_t word;
    for (; size >= sizeof word; data += sizeof word, size -= sizeof word) {
        memcpy(&word, data, sizeof word);
        sum += word;
    }
    memcpy(memset(&word, 0, sizeof word), data, size);
    for (sum += word; sum >> 16;) sum = (sum & 0xffff) + (sum >> 16);
    uint16_t found = sum == 0xffff ? 0xffff : (uint16_t)~sum;
    memcpy(at, &found, sizeof found);
}

static void put(uint8_t *at, unsigned value) {
    at[0] = (uint8_t)(value >> 8), at[1] = (uint8_t)value;
}

/* Makes a frame of a query; its size. */
static unsigned make_frame(uint8_t *at, const uint8_t *wire, unsigned length) {
    uint8_t *ip = at + IP_AT, *udp = at + UDP_AT;
    uint16_t size = (uint16_t)(8 + length);
    memcpy(at, frames.model, DNS_AT);
    memcpy(at + DNS_AT, wire, length);
    put(ip + 2, 20u + size);
    put_sum(ip + 10, ip, 20, 0);
    put(udp + 4, size);
    /* Both addresses stand before it. */
    put_sum(udp + 6, ip + 12, 8u + size, (uint32_t)htons(size) + htons(IPPROTO_UDP));
    return DNS_AT + length;
}

static void open_frames(const char *device, const char *link, const char *address, int port) {
    unsigned index = if_nametoindex(device);
    if (!index) fail(device);
    make_model(device, link, address, port);
    open_rings(index);
    attach(index, port);
    usleep(SETTLE_US);
}

/* Puts a query where `flush_frames` sends from. */
static void send_frame(const uint8_t *wire, unsigned length) {
    for (uint32_t put_there = theirs(frames.done.put); frames.gone != put_there; frames.gone++)
        frames.unused[frames.unused_count++] =
            ((uint64_t *)frames.done.entries)[frames.gone & (RING - 1)];
    tell(frames.done.taken, frames.gone);
    errno = ENOBUFS;
    if (!frames.unused_count) fail("frames");
    uint64_t at = frames.unused[--frames.unused_count];
    ((struct xdp_desc *)frames.tx.entries)[frames.sent++ & (RING - 1)] =
        (struct xdp_desc){.addr = at, .len = make_frame(frames.memory + at, wire, length)};
}

static void flush_frames(void) {
    tell(frames.tx.put, frames.sent);
    do {
        if (sendto(frames.socket, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 && errno != EAGAIN &&
            errno != EBUSY && errno != ENOBUFS)
            fail("sendto");
    } while (theirs(frames.tx.taken) != frames.sent);
}

/* Takes so many answers at most; how many there were. */
static int receive_frames(unsigned most, void (*take)(const uint8_t *, unsigned, uint64_t),
                          uint64_t now) {
    uint32_t count = theirs(frames.rx.put) - frames.received;
    if (count > most) count = most;
    for (uint32_t i = 0; i < count; i++) {
        struct xdp_desc *entry = (struct xdp_desc *)frames.rx.entries + (frames.received++ & (RING - 1));
        const uint8_t *frame = frames.memory + entry->addr;
        unsigned length = (unsigned)(frame[UDP_AT + 4] << 8 | frame[UDP_AT + 5]);
        if (length >= 8 && UDP_AT + length <= entry->len) take(frame + DNS_AT, length - 8, now);
        ((uint64_t *)frames.fill.entries)[frames.given++ & (RING - 1)] =
            entry->addr & ~(uint64_t)(FRAME_BYTES - 1);
    }
    tell(frames.rx.taken, frames.received);
    tell(frames.fill.put, frames.given);
    return (int)count;
}
