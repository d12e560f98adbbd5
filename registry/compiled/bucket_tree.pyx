# cython: language_level=3, boundscheck=False, wraparound=False
"""The tree above the buckets, as in `registry.bucket_tree`: all its hashes in one array.

OpenSSL's SHA-256, called without an object for each hash.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from registry.bucket_tree import BUCKETS as _BUCKETS

cdef extern from *:
    """
    /* The calls that take no lock and no memory; OpenSSL 3 would rather have its newer ones. */
    #define OPENSSL_SUPPRESS_DEPRECATED
    #include <openssl/sha.h>
    """
    ctypedef struct SHA256_CTX:
        pass
    int SHA256_Init(SHA256_CTX *context) nogil
    int SHA256_Update(SHA256_CTX *context, const void *data, size_t length) nogil
    int SHA256_Final(unsigned char *digest, SHA256_CTX *context) nogil

cdef enum:
    HASH = 32

cdef struct Node:
    uint32_t position
    unsigned char digest[HASH]

cdef uint32_t BUCKETS = _BUCKETS
# Beyond so many buckets others may have the interpreter meanwhile: a table is being loaded. A
# batch is done before it would have it back.
cdef Py_ssize_t LONG = 1024


cdef inline void _hash_leaf(unsigned char *digest, const char *data, size_t length) noexcept nogil:
    cdef SHA256_CTX context
    cdef unsigned char prefix = 0
    SHA256_Init(&context)
    SHA256_Update(&context, &prefix, 1)
    SHA256_Update(&context, data, length)
    SHA256_Final(digest, &context)


cdef inline void _hash_pair(
    unsigned char *digest, const unsigned char *left, const unsigned char *right
) noexcept nogil:
    cdef SHA256_CTX context
    cdef unsigned char pair[1 + 2 * HASH]
    pair[0] = 1
    memcpy(pair + 1, left, HASH)
    memcpy(pair + 1 + HASH, right, HASH)
    SHA256_Init(&context)
    SHA256_Update(&context, pair, sizeof(pair))
    SHA256_Final(digest, &context)


cdef class CompiledNodes:
    """The nodes that change: the buckets' own first, then level by level."""

    cdef Node *_nodes
    cdef Py_ssize_t _count
    cdef readonly bytes root

    def __cinit__(self, Py_ssize_t room):
        self._nodes = <Node *>malloc(max(room, 1) * sizeof(Node))
        if self._nodes == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self._nodes)


cdef class CompiledBucketTree:
    """The hashes over 65,536 buckets. Not safe for use by several threads at once."""

    cdef unsigned char *_hashes
    # Where among the nodes being staged a position is, counted from 1; 0 between calls.
    cdef int32_t *_places

    def __cinit__(self):
        self._hashes = <unsigned char *>calloc(2 * BUCKETS, HASH)
        self._places = <int32_t *>calloc(2 * BUCKETS, sizeof(int32_t))
        if self._hashes == NULL or self._places == NULL:
            raise MemoryError
        cdef uint32_t position
        for position in range(2 * BUCKETS - 1, 0, -1):
            if position == 2 * BUCKETS - 1:
                _hash_leaf(self._hash(position), NULL, 0)
            elif position & (position + 1):
                # All nodes of a level are alike while it is empty.
                memcpy(self._hash(position), self._hash(position + 1), HASH)
            else:
                _hash_pair(
                    self._hash(position), self._hash(2 * position), self._hash(2 * position + 1)
                )

    def __dealloc__(self):
        free(self._hashes)
        free(self._places)

    def node(self, position):
        """The hash at a position: 1 is the root, 2n and 2n + 1 are below n."""
        cdef uint32_t at = position
        if not 0 < at < 2 * BUCKETS:
            raise IndexError("no such node")
        return PyBytes_FromStringAndSize(<char *>self._hash(at), HASH)

    def stage(self, buckets):
        """The nodes that change with these buckets by number; the tree stays as it is."""
        cdef list numbers = list(buckets)
        # Kept until the end, for it is their memory that is read.
        cdef list contents = list(buckets.values())
        cdef Py_ssize_t count = len(numbers), at
        cdef uint32_t number
        cdef bytes bucket
        cdef CompiledNodes nodes = CompiledNodes(min(count * 17, 2 * <Py_ssize_t>BUCKETS))
        for at in range(count):
            number = numbers[at]
            bucket = contents[at]
            if number >= BUCKETS:
                raise IndexError("no such bucket")
            nodes._nodes[at].position = BUCKETS + number
            _hash_leaf(
                nodes._nodes[at].digest, PyBytes_AS_STRING(bucket), PyBytes_GET_SIZE(bucket)
            )
        nodes._count = count
        if count > LONG:
            with nogil:
                self._rehash(nodes)
        else:
            self._rehash(nodes)
        nodes.root = (
            PyBytes_FromStringAndSize(<char *>nodes._nodes[nodes._count - 1].digest, HASH)
            if count
            else self.node(1)
        )
        return nodes

    def apply(self, CompiledNodes nodes not None):
        """Takes staged nodes over."""
        cdef Py_ssize_t at
        for at in range(nodes._count):
            memcpy(self._hash(nodes._nodes[at].position), nodes._nodes[at].digest, HASH)

    cdef inline unsigned char *_hash(self, uint32_t position) noexcept nogil:
        return self._hashes + <size_t>position * HASH

    cdef void _rehash(self, CompiledNodes nodes) noexcept nogil:
        """Adds the parents of the nodes, of these the parents, up to the root."""
        cdef Node *all_nodes = nodes._nodes
        cdef Py_ssize_t begin = 0, end = nodes._count, at
        cdef uint32_t position, parent
        cdef unsigned char *sibling
        for at in range(end):
            self._places[all_nodes[at].position] = <int32_t>at + 1
        while begin < end and all_nodes[begin].position > 1:
            for at in range(begin, end):
                position = all_nodes[at].position
                parent = position >> 1
                if self._places[parent]:
                    continue
                if self._places[position ^ 1]:
                    sibling = all_nodes[self._places[position ^ 1] - 1].digest
                else:
                    sibling = self._hash(position ^ 1)
                if position & 1:
                    _hash_pair(all_nodes[nodes._count].digest, sibling, all_nodes[at].digest)
                else:
                    _hash_pair(all_nodes[nodes._count].digest, all_nodes[at].digest, sibling)
                all_nodes[nodes._count].position = parent
                nodes._count += 1
                self._places[parent] = <int32_t>nodes._count
            begin, end = end, nodes._count
        for at in range(nodes._count):
            self._places[all_nodes[at].position] = 0
