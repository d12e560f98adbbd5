# What a client is due: a cookie, and one more answer or none; part of `answering.pyx`.

cdef bint _bake(
    const Secrets* secrets, const Query* query, const Client* client, int64_t now_s,
    uint8_t* cookie,
) noexcept nogil:
    """Makes the cookie to send; whether the one that came was made here for this client."""
    cdef uint8_t data[32]
    cdef uint8_t hashed[8]
    cdef const uint8_t* came = query.cookie + CLIENT_COOKIE_BYTES
    cdef int number, maker = -1
    cdef int32_t age_s
    cdef uint32_t now = <uint32_t>now_s
    cdef bint is_known = False
    memcpy(data, query.cookie, CLIENT_COOKIE_BYTES)
    memcpy(data + 16, client.packed, client.width)
    if query.cookie_bytes == CLIENT_COOKIE_BYTES + SERVER_COOKIE_BYTES and came[0] == 1:
        memcpy(data + 8, came, 8)
        for number in range(secrets.count):
            _put_hash(hashed, secrets.keys[number], data, 16 + client.width)
            if _are_same(hashed, came + 8):
                maker = number
                break
        age_s = <int32_t>(now - _quad(came + 4))
        is_known = maker >= 0 and -FUTURE_S <= age_s <= OLDEST_S
        if is_known and maker == 0 and age_s <= RENEW_S:
            memcpy(cookie, query.cookie, CLIENT_COOKIE_BYTES + SERVER_COOKIE_BYTES)
            return True
    memset(data + 8, 0, 8)
    data[8] = 1
    _put_quad(data + 12, now)
    memcpy(cookie, data, 16)
    _put_hash(cookie + 16, secrets.keys[0], data, 16 + client.width)
    return is_known


cdef bint _admits(
    const Limits* limits, const Client* client, int kind, uint64_t now_us
) noexcept nogil:
    """See `secondary.dns.rate_limit`, whose slots these are."""
    cdef uint8_t data[8]
    cdef size_t prefix = IPV4_PREFIX_BYTES if client.width == IPV4_BYTES else IPV6_PREFIX_BYTES
    cdef uint64_t cost_us = limits.costs_us[kind], slot, used_until_us
    if cost_us == 0:
        return True
    data[0] = <uint8_t>kind
    memcpy(data + 1, client.packed, prefix)
    slot = _siphash(limits.key, data, 1 + prefix) & limits.mask
    used_until_us = max(limits.slots[slot], now_us)
    if used_until_us + cost_us - now_us > BURST_US:
        return False
    limits.slots[slot] = used_until_us + cost_us
    return True
