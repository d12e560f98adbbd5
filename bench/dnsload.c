/* Sends DNS queries over UDP from one thread and checks every answer; see usage().
 *
 * The file of queries is records, used in order and again from the start: length of the query
 * (16 bits, big-endian), expected response code, expected number of answers, flags (a byte each),
 * the query with the identifier 0. Flag 1: whatever comes back is right, and nothing is too.
 *
 * Prints one JSON object. Times are microseconds unless their name says otherwise.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "frames.h"

enum {
    HEADER = 12,
    RECORD_HEADER = 5,
    BATCH = 64,
    MAX_WINDOW = 1024,
    ANSWER_BYTES = 4096,
    /* An identifier is slot, then generation, then whether anything goes. */
    SLOT_BITS = 10,
    GENERATION_MASK = 31,
    UNCHECKED_ID = 0x8000,
    UNCHECKED_FLAG = 1,
    SOCKET_BUFFER = 4 << 20,
    /* Buckets of latency: so many to each doubling, 1.6% wide. */
    FINE_BITS = 6,
    BUCKETS = 64 << FINE_BITS,
    EXPIRY_NS = 10 * 1000 * 1000,
    HEX_BYTES = 64,
};

struct query {
    const uint8_t *wire;
    uint16_t length, question;
    uint8_t rcode, answers, flags;
};

struct slot {
    const struct query *query;
    uint64_t sent_ns;
    uint8_t generation, busy;
};

struct totals {
    uint64_t sent, answered, wrong, late, lost, unchecked_sent, unchecked_answered;
    uint64_t buckets[BUCKETS], max_ns;
    char first_wrong[2 * HEX_BYTES + 1];
};

static struct query *queries;
static size_t query_count, next_query;
static struct slot slots[MAX_WINDOW];
static uint16_t free_slots[MAX_WINDOW];
static unsigned free_count;
static struct totals totals;
static uint8_t wires[BATCH][ANSWER_BYTES];
static struct iovec vectors[BATCH];
static struct mmsghdr messages[BATCH];
static int by_frames;

static void fail(const char *what) {
    fprintf(stderr, "dnsload: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void usage(void) {
    fputs("dnsload ADDRESS PORT QUERIES SECONDS WINDOW RATE TIMEOUT_MS [DEVICE LINK]\n"
          "  DEVICE LINK: by AF_XDP there, to the Ethernet address LINK\n"
          "  WINDOW: queries on their way at most, 1 to 1024; RATE: queries a second, 0: all it can\n",
          stderr);
    exit(2);
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static double number(const char *text, double least, double most) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= least && value <= most)) usage();
    return value;
}

/* Bytes of header and question, as far as they are to come back. */
static uint16_t question_end(const uint8_t *wire, size_t length) {
    size_t at = HEADER;
    while (at < length && wire[at]) at += 1u + wire[at];
    return (uint16_t)(at + 5 <= length ? at + 5 : 0);
}

static void load(const char *path) {
    struct stat status;
    FILE *file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &status)) fail(path);
    size_t size = (size_t)status.st_size;
    uint8_t *data = malloc(size + 1);
    if (!data || fread(data, 1, size, file) != size) fail(path);
    fclose(file);
    for (size_t pass = 0; pass < 2; pass++) {
        query_count = 0;
        for (size_t at = 0; at < size;) {
            const uint8_t *record = data + at;
            size_t length = size - at < RECORD_HEADER ? size : (size_t)(record[0] << 8 | record[1]);
            at += RECORD_HEADER + length;
            errno = EINVAL;
            if (at > size || length < 2 || length > ANSWER_BYTES) fail(path);
            if (queries) {
                struct query *query = &queries[query_count];
                query->wire = record + RECORD_HEADER;
                query->length = (uint16_t)length;
                query->rcode = record[2], query->answers = record[3], query->flags = record[4];
                query->question = question_end(query->wire, length);
                if (!query->question && !(query->flags & UNCHECKED_FLAG)) fail(path);
            }
            query_count++;
        }
        if (!query_count) fail(path);
        if (!queries && !(queries = calloc(query_count, sizeof *queries))) fail(path);
    }
}

static int connected(const char *address, int port) {
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int bytes = SOCKET_BUFFER, fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (inet_pton(AF_INET, address, &peer.sin_addr) != 1) usage();
    if (fd < 0 || connect(fd, (struct sockaddr *)&peer, sizeof peer)) fail(address);
    /* The first needs privileges; the second is cut to what the system allows. */
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes))
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    return fd;
}

/* Sends at most `most`; a connected peer that is not there counts as loss. */
static void send_some(int fd, unsigned most) {
    unsigned count = 0;
    for (; count < most && count < BATCH && free_count; count++) {
        const struct query *query = &queries[next_query];
        next_query = next_query + 1 < query_count ? next_query + 1 : 0;
        uint16_t id = UNCHECKED_ID;
        if (query->flags & UNCHECKED_FLAG) {
            id |= (uint16_t)(totals.unchecked_sent++ & 0x7fff);
        } else {
            uint16_t number = free_slots[--free_count];
            struct slot *slot = &slots[number];
            slot->generation = (slot->generation + 1) & GENERATION_MASK;
            slot->query = query, slot->busy = 1;
            id = (uint16_t)(slot->generation << SLOT_BITS | number);
        }
        memcpy(wires[count], query->wire, query->length);
        wires[count][0] = (uint8_t)(id >> 8), wires[count][1] = (uint8_t)id;
        vectors[count].iov_len = query->length;
    }
    uint64_t now = now_ns();
    for (unsigned i = 0; i < count; i++) {
        unsigned id = (unsigned)(wires[i][0] << 8 | wires[i][1]);
        if (!(id & UNCHECKED_ID)) slots[id & (MAX_WINDOW - 1)].sent_ns = now, totals.sent++;
    }
    if (by_frames && count) {
        for (unsigned i = 0; i < count; i++) send_frame(wires[i], (unsigned)vectors[i].iov_len);
        flush_frames();
    }
    for (unsigned done = 0; !by_frames && done < count;) {
        int sent = sendmmsg(fd, messages + done, count - done, 0);
        if (sent > 0) done += (unsigned)sent;
        else if (errno != EAGAIN && errno != ENOBUFS && errno != ECONNREFUSED) fail("sendmmsg");
    }
}

static void count_latency(uint64_t ns) {
    unsigned power = 63u - (unsigned)__builtin_clzll(ns | 1);
    unsigned shift = power > FINE_BITS ? power - FINE_BITS : 0;
    uint64_t bucket = ((uint64_t)shift << FINE_BITS) + (ns >> shift);
    totals.buckets[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
    if (ns > totals.max_ns) totals.max_ns = ns;
}

/* The middle of a bucket. */
static double bucket_us(unsigned bucket) {
    unsigned shift = bucket >> FINE_BITS;
    shift = shift ? shift - 1 : 0;
    uint64_t low = (uint64_t)(bucket - (shift << FINE_BITS)) << shift;
    return ((double)low + (double)((uint64_t)1 << shift) / 2) / 1000;
}

static double percentile_us(double share) {
    uint64_t rank = (uint64_t)(share * (double)totals.answered), before = 0;
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++)
        if ((before += totals.buckets[bucket]) > rank) return bucket_us(bucket);
    return (double)totals.max_ns / 1000;
}

static int is_right(const struct query *query, const uint8_t *wire, unsigned length) {
    return length >= query->question && (wire[2] & 0x80) && (wire[3] & 15) == query->rcode &&
           wire[6] == 0 && wire[7] == query->answers &&
           !memcmp(wire + 4, query->wire + 4, 2) &&
           !memcmp(wire + HEADER, query->wire + HEADER, (size_t)query->question - HEADER);
}

static void take(const uint8_t *wire, unsigned length, uint64_t now) {
    unsigned id = length < HEADER ? UNCHECKED_ID : (unsigned)(wire[0] << 8 | wire[1]);
    struct slot *slot = &slots[id & (MAX_WINDOW - 1)];
    if (id & UNCHECKED_ID) {
        totals.unchecked_answered++;
    } else if (!slot->busy || slot->generation != (id >> SLOT_BITS & GENERATION_MASK)) {
        totals.late++;
    } else {
        slot->busy = 0;
        free_slots[free_count++] = (uint16_t)(id & (MAX_WINDOW - 1));
        if (is_right(slot->query, wire, length)) {
            totals.answered++;
            count_latency(now - slot->sent_ns);
        } else if (!totals.wrong++) {
            for (unsigned i = 0; i < length && i < HEX_BYTES; i++)
                sprintf(totals.first_wrong + 2 * i, "%02x", wire[i]);
        }
    }
}

static int receive_some(int fd) {
    if (by_frames) return receive_frames(BATCH, take, now_ns());
    for (unsigned i = 0; i < BATCH; i++) vectors[i].iov_len = ANSWER_BYTES;
    int count = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
    uint64_t now = now_ns();
    for (int i = 0; i < count; i++) take(wires[i], messages[i].msg_len, now);
    return count;
}

static void expire(unsigned window, uint64_t sent_before) {
    for (unsigned number = 0; number < window; number++)
        if (slots[number].busy && slots[number].sent_ns < sent_before) {
            slots[number].busy = 0, totals.lost++;
            free_slots[free_count++] = (uint16_t)number;
        }
}

/* How many may go now: any number, or those that the rate has made due. */
static unsigned due(double rate, uint64_t began, uint64_t now) {
    uint64_t sent = totals.sent + totals.unchecked_sent;
    uint64_t allowed = (uint64_t)(rate * (double)(now - began) / 1e9) + 1;
    return rate == 0 ? BATCH : allowed > sent ? (unsigned)(allowed - sent) : 0;
}

static double run(int fd, unsigned window, double seconds, double rate, uint64_t timeout) {
    uint64_t began = now_ns(), end = began + (uint64_t)(seconds * 1e9), expired = began, now;
    while (free_count < window) free_slots[free_count] = (uint16_t)free_count, free_count++;
    while ((now = now_ns()) < end) {
        unsigned count = due(rate, began, now);
        if (count && free_count) send_some(fd, count);
        while (receive_some(fd) == BATCH) continue;
        if (now - expired > EXPIRY_NS) expire(window, now > timeout ? now - timeout : 0), expired = now;
    }
    uint64_t answered = totals.answered;
    /* What is still on its way has its time too, but does not count to the rate. */
    for (end += timeout; free_count < window && now_ns() < end;) receive_some(fd);
    expire(window, UINT64_MAX);
    return (double)answered / seconds;
}

int main(int argc, char **argv) {
    if (argc != 8 && argc != 10) usage();
    load(argv[3]);
    double seconds = number(argv[4], 0.01, 3600), rate = number(argv[6], 0, 1e8);
    unsigned window = (unsigned)number(argv[5], 1, MAX_WINDOW);
    uint64_t timeout = (uint64_t)(number(argv[7], 1, 60000) * 1e6);
    int port = (int)number(argv[2], 1, 65535), fd = connected(argv[1], port);
    by_frames = argc == 10;
    if (by_frames) open_frames(argv[8], argv[9], argv[1], port);
    for (unsigned i = 0; i < BATCH; i++) {
        vectors[i].iov_base = wires[i];
        messages[i].msg_hdr.msg_iov = &vectors[i], messages[i].msg_hdr.msg_iovlen = 1;
    }
    double qps = run(fd, window, seconds, rate, timeout);
    printf("{\"seconds\": %.3f, \"qps\": %.1f, \"sent\": %lu, \"answered\": %lu, \"wrong\": %lu, "
           "\"lost\": %lu, \"late\": %lu, \"unchecked_sent\": %lu, \"unchecked_answered\": %lu, "
           "\"p50_us\": %.2f, \"p99_us\": %.2f, \"max_us\": %.2f, \"first_wrong\": \"%s\"}\n",
           seconds, qps, totals.sent, totals.answered, totals.wrong, totals.lost, totals.late,
           totals.unchecked_sent, totals.unchecked_answered, percentile_us(0.5),
           percentile_us(0.99), (double)totals.max_ns / 1000, totals.first_wrong);
    return 0;
}
