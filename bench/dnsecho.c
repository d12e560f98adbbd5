/* Sends every datagram back as an answer without looking at it: what the kernel's way of a
 * datagram in and out costs, and so the most that any server on these calls can do.
 *
 * dnsecho ADDRESS PORT
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { HEADER = 12, BATCH = 64, DATAGRAM_BYTES = 512, RECEIVE_BUFFER = 4 << 20 };

static uint8_t wires[BATCH][DATAGRAM_BYTES];
static struct sockaddr_in peers[BATCH];
static struct iovec vectors[BATCH];
static struct mmsghdr messages[BATCH];

static int bound(const char *address, const char *port) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int bytes = RECEIVE_BUFFER, fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (fd < 0 || inet_pton(AF_INET, address, &here.sin_addr) != 1 ||
        bind(fd, (struct sockaddr *)&here, sizeof here)) {
        perror(address);
        exit(1);
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    return fd;
}

/* Whether a datagram became an answer: at least a header, and now a response. */
static int answered(int number) {
    if (messages[number].msg_len < HEADER) return 0;
    wires[number][2] |= 0x80;
    vectors[number].iov_len = messages[number].msg_len;
    return 1;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    int fd = bound(argv[1], argv[2]);
    for (int i = 0; i < BATCH; i++) {
        vectors[i].iov_base = wires[i];
        messages[i].msg_hdr.msg_iov = &vectors[i], messages[i].msg_hdr.msg_iovlen = 1;
        messages[i].msg_hdr.msg_name = &peers[i];
    }
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            vectors[i].iov_len = DATAGRAM_BYTES;
            messages[i].msg_hdr.msg_namelen = sizeof peers[i];
        }
        int count = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
        for (int done = 0; done < count;) {
            int ready = done;
            while (ready < count && answered(ready)) ready++;
            int sent = ready > done ? sendmmsg(fd, messages + done, (unsigned)(ready - done), 0) : -1;
            done += sent > 0 ? sent : 1;
        }
    }
}
