# The headers of Ethernet, IP and UDP: checked as they come, turned round for the answer; part of
# `frames.pyx`.

cdef extern from "<arpa/inet.h>" nogil:
    uint16_t htons(uint16_t)

cdef enum:
    LINK_HEADER = 14
    IPV4_HEADER = 20
    IPV6_HEADER = 40
    UDP_HEADER = 8
    HOPS = 64
    UDP = 17


cdef int _udp_length_4(const uint8_t* ip, uint32_t size) noexcept nogil:
    """The length of the datagram in an IPv4 packet without options (RFC 791); 0 if it is wrong."""
    cdef uint32_t total = _short(ip + 2)
    if total < IPV4_HEADER + UDP_HEADER or total > size or _sum(ip, IPV4_HEADER, 0) != 0xffff:
        return 0
    # "This" network, loopback, multicast and what is reserved send nothing (RFC 6890).
    if ip[12] == 0 or ip[12] == 127 or ip[12] >= 224:
        return 0
    return _udp_length(ip + IPV4_HEADER, total - IPV4_HEADER, ip + 12, 8)


cdef int _udp_length_6(const uint8_t* ip, uint32_t size) noexcept nogil:
    """The length of the datagram in an IPv6 packet (RFC 8200); 0 if it is wrong."""
    cdef uint32_t length
    if size < IPV6_HEADER + UDP_HEADER:
        return 0
    length = _short(ip + 4)
    # Multicast, the unspecified address, loopback and IPv4 (RFC 4291) send nothing here.
    if length > size - IPV6_HEADER or ip[8] == 0xff or _is_low(ip + 8):
        return 0
    # Without a checksum there is none (RFC 8200, 8.1).
    if _short(ip + IPV6_HEADER + 6) == 0:
        return 0
    return _udp_length(ip + IPV6_HEADER, length, ip + 8, 32)


cdef bint _is_low(const uint8_t* address) noexcept nogil:
    """Whether an IPv6 address is ::, ::1, or stands for one of IPv4 (::ffff:0:0/96)."""
    cdef uint8_t bits = 0
    cdef int at
    for at in range(10):
        bits |= address[at]
    if bits:
        return False
    if address[10] == 0xff and address[11] == 0xff:
        return True
    for at in range(10, 15):
        bits |= address[at]
    return bits == 0 and address[15] <= 1


cdef int _udp_length(
    const uint8_t* udp, uint32_t most, const uint8_t* addresses, size_t width
) noexcept nogil:
    """The length of a datagram (RFC 768) with its header; 0 if it or the checksum is wrong."""
    cdef uint32_t length = _short(udp + 4), ends
    cdef uint16_t given
    if length < UDP_HEADER or length > most or _short(udp) == 0:
        return 0
    memcpy(&given, udp + 6, 2)
    ends = _sum(addresses, width, <uint32_t>htons(length) + htons(UDP))
    # From this machine it comes with the sum of the ends alone, which hardware would complete.
    if given != 0 and given != ends and _sum(udp, length, ends) != 0xffff:
        return 0
    return length


cdef void _turn_round(uint8_t* frame, size_t size) noexcept nogil:
    """Makes the headers of a query those of an answer; `size`: with those of IP and UDP."""
    cdef uint8_t* ip = frame + LINK_HEADER
    _swap(frame, frame + 6, 6)
    if ip[0] >> 4 == 4:
        _swap(ip + 12, ip + 16, 4)
        # Never to be fragmented, and so without an identifier (RFC 6864, 4.1).
        memset(ip + 1, 0, 11)
        _put_short(ip + 2, size)
        ip[6], ip[8], ip[9] = 0x40, HOPS, UDP
        _put_sum(ip + 10, _sum(ip, IPV4_HEADER, 0))
        _turn_udp(ip + IPV4_HEADER, size - IPV4_HEADER, ip + 12, 8)
    else:
        _swap(ip + 8, ip + 24, 16)
        memset(ip + 1, 0, 3)
        ip[0], ip[7] = 0x60, HOPS
        _put_short(ip + 4, size - IPV6_HEADER)
        _turn_udp(ip + IPV6_HEADER, size - IPV6_HEADER, ip + 8, 32)


cdef void _turn_udp(
    uint8_t* udp, size_t length, const uint8_t* addresses, size_t width
) noexcept nogil:
    cdef uint32_t ends = _sum(addresses, width, <uint32_t>htons(length) + htons(UDP))
    _swap(udp, udp + 2, 2)
    _put_short(udp + 4, length)
    memset(udp + 6, 0, 2)
    _put_sum(udp + 6, _sum(udp, length, ends))


cdef void _swap(uint8_t* one, uint8_t* other, size_t size) noexcept nogil:
    cdef uint8_t kept[16]
    memcpy(kept, one, size)
    memcpy(one, other, size)
    memcpy(other, kept, size)


cdef uint32_t _short(const uint8_t* at) noexcept nogil:
    return <uint32_t>at[0] << 8 | at[1]


cdef void _put_short(uint8_t* at, size_t value) noexcept nogil:
    at[0], at[1] = (value >> 8) & 0xff, value & 0xff


cdef void _put_sum(uint8_t* at, uint32_t sum) noexcept nogil:
    """Writes the checksum of what has this sum; all ones stand for none (RFC 768)."""
    cdef uint16_t checksum = <uint16_t>(~sum & 0xffff)
    if checksum == 0:
        checksum = 0xffff
    memcpy(at, &checksum, 2)


cdef uint32_t _sum(const uint8_t* data, size_t size, uint64_t sum) noexcept nogil:
    """The sum of RFC 1071, folded to 16 bits, in the order of the machine's bytes."""
    cdef uint32_t word
    cdef uint16_t half
    while size >= 4:
        memcpy(&word, data, 4)
        sum += word
        data += 4
        size -= 4
    if size >= 2:
        memcpy(&half, data, 2)
        sum += half
        data += 2
        size -= 2
    if size:
        half = 0
        memcpy(&half, data, 1)
        sum += half
    while sum >> 16:
        sum = (sum & 0xffff) + (sum >> 16)
    return <uint32_t>sum
