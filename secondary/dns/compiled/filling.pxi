# What is told once, from objects into structs; part of `answering.pyx`.

cdef int _copy(uint8_t* to, size_t room, bytes data) except -1:
    if <size_t>len(data) > room:
        raise ValueError(f"{len(data)} bytes where {room} fit")
    memcpy(to, <const uint8_t*>data, len(data))
    return 0


cdef int _fill_zone(Zone* to, zone) except -1:
    to.kind = zone.kind
    _copy(to.origin, sizeof(to.origin), zone.origin)
    _copy(to.absence, sizeof(to.absence), zone.absence)
    _copy(to.text, sizeof(to.text), zone.text)
    to.origin_bytes = len(zone.origin)
    to.absence_bytes = len(zone.absence)
    to.text_bytes = len(zone.text)
    if to.absence_bytes < 20:
        raise ValueError("expected an SOA record")
    return 0


cdef int _fill_range(Range* to, bytes first, bytes last) except -1:
    if len(first) != len(last):
        raise ValueError("expected two addresses of one family")
    to.width = len(first)
    _copy(to.first, sizeof(to.first), first)
    _copy(to.last, sizeof(to.last), last)
    return 0
