# Limits, codes and options of the answers, as the modules in Python have them; part of `answering.pyx`.

cdef enum:
    HEADER_BYTES = 12
    MAX_NAME_BYTES = 255
    MAX_LABEL_BYTES = 63
    MAX_LABELS = 128
    MAX_RECORDS = 8
    PLAIN_UDP_BYTES = 512
    EDNS_UDP_BYTES = 1232
    IPV4_BYTES = 4
    IPV6_BYTES = 16
    IPV4_PREFIX_BYTES = 3
    IPV6_PREFIX_BYTES = 7
    BURST_US = 1000000
    CLIENT_COOKIE_BYTES = 8
    SERVER_COOKIE_BYTES = 16
    RENEW_S = 1800
    OLDEST_S = 3600
    FUTURE_S = 300
    MAX_ERROR_BYTES = 80
    NAME_TTL = 300
    UNLISTED_TTL = 60

cdef enum:
    NOERROR = 0
    FORMERR = 1
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5

cdef enum:
    TYPE_A = 1
    TYPE_TXT = 16
    TYPE_AAAA = 28
    TYPE_OPT = 41
    TYPE_IXFR = 251
    TYPE_AXFR = 252
    TYPE_ANY = 255

cdef enum:
    CLASS_IN = 1
    CLASS_CHAOS = 3

cdef enum:
    OPTION_NSID = 3
    OPTION_COOKIE = 10

cdef enum:
    POSITIVE = 0
    NEGATIVE = 1
    ERROR = 2

cdef enum:
    KIND_DASHED = 0
    KIND_LISTED = 1
    KIND_UNLISTED = 2
    KIND_SERVERS = 3

# RFC 5782, 5.
cdef uint8_t* ALWAYS_IPV4 = b"\x7f\0\0\2"
cdef uint8_t* NEVER_IPV4 = b"\x7f\0\0\1"
cdef uint8_t* ALWAYS_IPV6 = b"\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\2"
cdef uint8_t* NEVER_IPV6 = b"\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\1"

# Options of the OPT record, whole.
cdef bytes _OUTSIDE = extended_error_option(*OUTSIDE.extended_error)
cdef bytes _NO_TRANSFER = extended_error_option(*NO_TRANSFER.extended_error)
cdef const uint8_t* OUTSIDE_OPTION = _OUTSIDE
cdef size_t OUTSIDE_BYTES = len(_OUTSIDE)
cdef const uint8_t* NO_TRANSFER_OPTION = _NO_TRANSFER
cdef size_t NO_TRANSFER_BYTES = len(_NO_TRANSFER)
if max(OUTSIDE_BYTES, NO_TRANSFER_BYTES) > MAX_ERROR_BYTES:
    raise ValueError("an extended error is too long")
