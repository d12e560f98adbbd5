# Blocks of keys in order, and what is found in them; part of `table.pyx`.

cdef inline uint32_t* _facts(Block* block, size_t width) noexcept nogil:
    """The numbers of the facts of its keys, in their order."""
    return <uint32_t*>(block.keys + BLOCK_KEYS * width)


cdef size_t _block_for(const Family* family, const uint8_t* key) noexcept nogil:
    """The block that holds `key` if any does: the last whose first key is not greater."""
    cdef size_t count = _count_to(family.firsts, family.blocks_count, key, family.width)
    return count - 1 if count else 0


cdef bint _search(const Block* block, const uint8_t* key, size_t width, size_t* at) noexcept nogil:
    """Whether the block has `key`; `at` is where it stands or belongs."""
    at[0] = _count_to(block.keys, block.count, key, width)
    if at[0] == 0 or memcmp(block.keys + (at[0] - 1) * width, key, width) != 0:
        return False
    at[0] -= 1
    return True


cdef inline size_t _count_to(
    const uint8_t* keys, size_t count, const uint8_t* key, size_t width
) noexcept nogil:
    """How many of the sorted keys are not greater than `key`."""
    if width == IPV4_BYTES:
        return _count_to_ipv4(keys, count, _quad(key))
    return _count_to_ipv6(keys, count, _octet(key), _octet(key + 8))


cdef size_t _count_to_ipv4(const uint8_t* keys, size_t count, uint32_t key) noexcept nogil:
    # Where a key falls cannot be foreseen: a sum costs less than a branch.
    cdef size_t low = 0, half
    while count:
        half = (count + 1) // 2
        low += half * <size_t>(_quad(keys + (low + half - 1) * IPV4_BYTES) <= key)
        count -= half
    return low


cdef size_t _count_to_ipv6(
    const uint8_t* keys, size_t count, uint64_t upper, uint64_t lower
) noexcept nogil:
    cdef size_t low = 0, half
    cdef const uint8_t* middle
    cdef uint64_t middle_upper
    while count:
        half = (count + 1) // 2
        middle = keys + (low + half - 1) * IPV6_BYTES
        middle_upper = _octet(middle)
        low += half * <size_t>(
            (middle_upper < upper) | ((middle_upper == upper) & (_octet(middle + 8) <= lower))
        )
        count -= half
    return low


cdef inline uint32_t _quad(const uint8_t* at) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, at, sizeof(uint32_t))
    return __builtin_bswap32(value)


cdef inline uint64_t _octet(const uint8_t* at) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, at, sizeof(uint64_t))
    return __builtin_bswap64(value)


cdef int _insert_block(Family* family, size_t number, const uint8_t* first) except -1:
    """Puts an empty block there, whose keys will begin with `first`."""
    cdef size_t room
    cdef void* moved
    cdef Block* block
    if family.blocks_count == family.blocks_room:
        room = family.blocks_room * 2 + 8
        moved = realloc(family.blocks, room * sizeof(Block*))
        if moved == NULL:
            raise MemoryError
        family.blocks = <Block**>moved
        moved = realloc(family.firsts, room * family.width)
        if moved == NULL:
            raise MemoryError
        family.firsts = <uint8_t*>moved
        family.blocks_room = room
    block = <Block*>malloc(
        sizeof(Block) + BLOCK_KEYS * (family.width + sizeof(uint32_t))
    )
    if block == NULL:
        raise MemoryError
    block.count = 0
    memmove(&family.blocks[number + 1], &family.blocks[number],
            (family.blocks_count - number) * sizeof(Block*))
    memmove(family.firsts + (number + 1) * family.width, family.firsts + number * family.width,
            (family.blocks_count - number) * family.width)
    family.blocks[number] = block
    memcpy(family.firsts + number * family.width, first, family.width)
    family.blocks_count += 1
    return 0


cdef int _split(Family* family, size_t number, size_t at) except -1:
    """Makes room in a full block for a key at `at`."""
    cdef Block* full = family.blocks[number]
    cdef Block* upper
    # A load comes in order: behind the last key, full blocks stay full.
    cdef bint is_appended = at == BLOCK_KEYS and number + 1 == family.blocks_count
    cdef size_t left = BLOCK_KEYS - 1 if is_appended else BLOCK_KEYS // 2
    cdef size_t width = family.width
    _insert_block(family, number + 1, full.keys + left * width)
    upper = family.blocks[number + 1]
    upper.count = BLOCK_KEYS - left
    memcpy(upper.keys, full.keys + left * width, upper.count * width)
    memcpy(_facts(upper, width), _facts(full, width) + left, upper.count * sizeof(uint32_t))
    full.count = left
    return 0


cdef void _join(Family* family, size_t number) noexcept:
    """Takes the next block's keys into this one when both are nearly empty."""
    cdef Block* block = family.blocks[number]
    cdef Block* following
    if number + 1 == family.blocks_count:
        return
    following = family.blocks[number + 1]
    if block.count + following.count > BLOCK_KEYS // 4:
        return
    memcpy(block.keys + block.count * family.width, following.keys,
           following.count * family.width)
    memcpy(_facts(block, family.width) + block.count, _facts(following, family.width),
           following.count * sizeof(uint32_t))
    block.count += following.count
    _drop_block(family, number + 1)


cdef void _drop_block(Family* family, size_t number) noexcept:
    free(family.blocks[number])
    family.blocks_count -= 1
    memmove(&family.blocks[number], &family.blocks[number + 1],
            (family.blocks_count - number) * sizeof(Block*))
    memmove(family.firsts + number * family.width, family.firsts + (number + 1) * family.width,
            (family.blocks_count - number) * family.width)


cdef void _free_family(Family* family) noexcept:
    cdef size_t number
    for number in range(family.blocks_count):
        free(family.blocks[number])
    free(family.blocks)
    free(family.firsts)


cdef bint _agree(const Family* ours, const Arena* our_arena, const Family* theirs,
                 const Arena* their_arena) noexcept nogil:
    cdef size_t number, at, their_number = 0, their_at = 0
    if ours.count != theirs.count:
        return False
    for number in range(ours.blocks_count):
        for at in range(ours.blocks[number].count):
            if their_at == theirs.blocks[their_number].count:
                their_number, their_at = their_number + 1, 0
            if memcmp(ours.blocks[number].keys + at * ours.width,
                      theirs.blocks[their_number].keys + their_at * ours.width, ours.width) != 0:
                return False
            if not are_same(
                our_arena, _facts(ours.blocks[number], ours.width)[at],
                their_arena, _facts(theirs.blocks[their_number], theirs.width)[their_at],
            ):
                return False
            their_at += 1
    return True
