"""The common query answered in pure Python: bytes in, bytes out, and hardly an object made.

Whatever it answers, `secondary.dns.responder` would answer in the same bytes; what it does not
know it declines, and the responder is asked. What is kept between queries depends on nothing but
queries and zones: shapes, no answers, nothing of the table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from secondary.dns.codes import Rcode
from secondary.dns.counters import OTHER_COLUMN, RCODES, TYPE_NAMES
from secondary.dns.fast_path import ZoneKind
from secondary.dns.pure.kept import Kept
from secondary.dns.pure.names import (
    IPV4_BYTES,
    IPV4_RECORD,
    IPV6_LABEL_BYTES,
    Names,
    registered,
)
from secondary.dns.pure.shapes import Shape, make_shape
from secondary.dns.query import (
    HEADER_BYTES,
    MAX_LABEL_BYTES,
    MAX_NAME_BYTES,
    QueryFormatError,
    parse_header,
    parse_query,
    read_name,
)
from secondary.dns.rate_limit import RateLimiter, kind_of
from secondary.dns.reply import Response, bare
from secondary.dns.responder import Responder
from secondary.dns.table import DictTable

_ID: Final = slice(0, 2)
# Flags and counts.
_HEAD: Final = slice(2, HEADER_BYTES)
_RESPONSE_BIT: Final = 0x80
_OPCODE_BITS: Final = 0x78
_QUESTIONS: Final = slice(4, 6)
_TYPE_AND_CLASS_BYTES: Final = 4
# The serial within an SOA record.
_SERIAL: Final = slice(-20, -16)
# Compression pointers by what they point at (RFC 1035, 4.1.4).
_POINTERS: Final = [(0xC000 | at).to_bytes(2) for at in range(HEADER_BYTES + MAX_NAME_BYTES)]


@dataclass(frozen=True, slots=True)
class _Ending:
    """What stands after a first label that alone makes the difference."""

    shape: Shape
    # Of the question, first label excluded.
    question_bytes: int
    # First labels, in lower case, with which it would be the name of something else.
    apart: frozenset[bytes]
    # Whether it does not matter what the first label is.
    is_any: bool


@dataclass(frozen=True, slots=True)
class _Moment:
    """What a batch is answered from; `absences` are SOA records, after their owners, by zone.

    `counts` are those of `AnswerCounter.answers`.
    """

    table: DictTable
    counts: list[int]
    absences: tuple[bytes, ...]
    now_s: int
    now_us: int


@dataclass(slots=True)
class _Asked:
    """A query whose name was read. `name` is in lower case, its labels and its bytes."""

    wire: bytes
    client: bytes
    labels: list[bytes]
    name: bytes
    zone: int | None
    cookie: bytes = b""

    @property
    def after_name(self) -> bytes:
        """All that stands behind the name."""
        return self.wire[HEADER_BYTES + len(self.name) :]


class FastPath:
    """Answers from the zones and limits of one server; any number of threads may call it."""

    def __init__(self, responder: Responder, limiter: RateLimiter) -> None:
        """Answers as `responder` would; `limiter` counts the answers of both."""
        self._zones = responder.zones.fast()
        # Where the servers are there are more records than are worth it.
        self._names = [
            None if zone.kind is ZoneKind.SERVERS else Names(zone) for zone in self._zones
        ]
        self._origins = [list(read_name(zone.origin, 0)[0]) for zone in self._zones]
        self._above = frozenset(responder.zones.above())
        # Names that may end as those of another zone do.
        self._apart = self._above | {zone.origin for zone in self._zones}
        self._cookies = responder.cookies
        self._tells_nsid = bool(responder.identity.nsid)
        self._limiter = limiter
        self._is_limited = any(limiter.costs_us)
        self._absences: tuple[int, tuple[bytes, ...]] = (-1, ())
        self._endings: Kept[_Ending] = Kept()
        self._shapes: Kept[Shape] = Kept()

    def answer_one(
        self, table: DictTable, wire: bytes, client: bytes, now_s: int, now_us: int
    ) -> bytes | None:
        """The answer to one query, empty for silence; None when the responder has to be asked."""
        counts = [0] * (len(TYPE_NAMES) * RCODES)
        return self.answer_all(table, counts, [(wire, client)], now_s, now_us)[0]

    def answer_all(
        self,
        table: DictTable,
        counts: list[int],
        queries: Iterable[tuple[bytes, bytes]],
        now_s: int,
        now_us: int,
    ) -> list[bytes | None]:
        """The same for queries and the clients they came from, all at one time.

        Answers are counted in `counts`, which is `AnswerCounter.answers`: here the type is known.
        Written out here is what nearly everybody asks: a dashed name, or one of nobody's.
        """
        moment = self._moment(table, counts, now_s, now_us)
        is_limited = self._is_limited
        ending_of, facts_of, join = self._endings.whole.get, table.facts.get, b"".join
        absences, pointers = moment.absences, _POINTERS
        answers: list[bytes | None] = []
        for wire, client in queries:
            size = wire[HEADER_BYTES] if len(wire) > HEADER_BYTES else 0
            after = HEADER_BYTES + 1 + size
            key, cookie = wire[_HEAD] + wire[after:], b""
            ending = ending_of(key)
            if ending is None:
                ending, cookie = self._endings.find_before_cookie(key)
            if ending is None or not 0 < size <= MAX_LABEL_BYTES:
                answers.append(self._answer(moment, wire, client))
                continue
            shape = ending.shape
            head, records, opt, is_known = shape.found, b"", shape.opt, False
            if not ending.is_any:
                label = wire[HEADER_BYTES + 1 : after]
                facts = facts_of(label)
                if facts is not None:
                    if shape.wants_ipv4 and size != IPV6_LABEL_BYTES:
                        records = IPV4_RECORD + facts[:IPV4_BYTES]
                    else:
                        head, records = _listed(moment, shape, facts, size)
                # It may have letters of the other case, or be the name of something else.
                elif size == IPV6_LABEL_BYTES or label.lower() in ending.apart:
                    answers.append(self._answer(moment, wire, client))
                    continue
                elif shape.zone is not None:
                    head, records = shape.absent, pointers[after] + absences[shape.zone]
            if cookie:
                cookie, is_known = self._cookies.answer(cookie, client, now_s)
                opt += cookie + shape.opt_end
            question = wire[HEADER_BYTES : after + ending.question_bytes]
            answer = join((wire[_ID], head, question, records, opt))
            if is_limited or len(answer) > shape.max_bytes:
                response = Response(answer, len(question), len(opt), is_known)
                answer = self._bounded(moment, response, shape.max_bytes, client)
            counts[shape.column + (head[1] & 0xF)] += 1
            answers.append(answer)
        return answers

    def _moment(self, table: DictTable, counts: list[int], now_s: int, now_us: int) -> _Moment:
        serial = table.standing.position.state.zone_serial
        known, absences = self._absences
        if known != serial:
            absences = tuple(_with_serial(zone.absence, serial) for zone in self._zones)
            self._absences = serial, absences
        return _Moment(table, counts, absences, now_s, now_us)

    def _bounded(self, moment: _Moment, response: Response, max_bytes: int, client: bytes) -> bytes:
        """The answer, without its records where they are too many or the limit was reached."""
        wire = response.wire
        if len(wire) > max_bytes:
            wire = response.truncated()
        if response.is_client_known or not self._is_limited:
            return wire
        if self._limiter.admits(client, kind_of(wire), moment.now_us):
            return wire
        return response.truncated()

    # --- any query ------------------------------------------------------------------

    def _answer(self, moment: _Moment, wire: bytes, client: bytes) -> bytes | None:
        """The answer to whatever came; see `answer_one`."""
        if len(wire) < HEADER_BYTES or wire[2] & _RESPONSE_BIT:
            return b""
        if wire[2] & _OPCODE_BITS:
            return self._bare(moment, wire, client, Rcode.NOTIMP)
        # A query without a question is for a cookie alone.
        if wire[_QUESTIONS] == b"\0\0":
            return None
        asked = self._read(wire, client) if wire[_QUESTIONS] == b"\0\1" else None
        if asked is None:
            return self._bare(moment, wire, client, Rcode.FORMERR)
        shape, asked.cookie = self._shapes.find(_key(asked))
        if shape is None:
            return self._answer_new(moment, asked)
        return self._answer_shape(moment, asked, shape)

    def _bare(self, moment: _Moment, wire: bytes, client: bytes, rcode: Rcode) -> bytes:
        moment.counts[OTHER_COLUMN + rcode] += 1
        return self._bounded(moment, bare(wire, rcode), HEADER_BYTES, client)

    def _read(self, wire: bytes, client: bytes) -> _Asked | None:
        """The query with its name; None if there is none that could be read."""
        try:
            labels, end = read_name(wire, HEADER_BYTES)
        except (QueryFormatError, IndexError):
            return None
        lower = [label.lower() for label in labels]
        return _Asked(wire, client, lower, wire[HEADER_BYTES:end].lower(), self._zone_of(lower))

    def _zone_of(self, labels: list[bytes]) -> int | None:
        """The zone with the longest origin that a name of these labels ends in."""
        for number, origin in enumerate(self._origins):
            if labels[-len(origin) :] == origin:
                return number
        return None

    def _answer_new(self, moment: _Moment, asked: _Asked) -> bytes | None:
        """Of a shape that is not known yet, or malformed behind its name."""
        header = parse_header(asked.wire)
        assert header is not None
        try:
            query = parse_query(asked.wire, header)
        except QueryFormatError:
            return self._bare(moment, asked.wire, asked.client, Rcode.FORMERR)
        if query.edns is not None:
            if query.edns.wants_nsid and self._tells_nsid:
                return None
            asked.cookie = query.edns.cookie or b""
        shape = make_shape(header, query, asked.zone)
        if shape is None:
            return None
        self._shapes.keep(_key(asked), asked.cookie, shape)
        return self._answer_shape(moment, asked, shape)

    def _answer_shape(self, moment: _Moment, asked: _Asked, shape: Shape) -> bytes | None:
        if asked.name in self._above:
            return None
        head, records = shape.found, b""
        if shape.zone is not None:
            below = asked.labels[: -len(self._origins[shape.zone])]
            names = self._names[shape.zone]
            # An apex has more records than are worth it.
            if not below or names is None:
                return None
            found = names.find(below, shape, moment.table)
            if not found:
                head = shape.absent if found is None else shape.empty
                origin = len(asked.name) - len(self._zones[shape.zone].origin)
                found = _POINTERS[HEADER_BYTES + origin] + moment.absences[shape.zone]
            records = found
        self._keep_ending(asked, shape)
        opt, is_known = shape.opt, False
        if asked.cookie:
            cookie, is_known = self._cookies.answer(asked.cookie, asked.client, moment.now_s)
            opt += cookie + shape.opt_end
        question_bytes = len(asked.name) + _TYPE_AND_CLASS_BYTES
        question = asked.wire[HEADER_BYTES : HEADER_BYTES + question_bytes]
        answer = b"".join((asked.wire[_ID], head, question, records, opt))
        response = Response(answer, question_bytes, len(opt), is_known)
        moment.counts[shape.column + (head[1] & 0xF)] += 1
        return self._bounded(moment, response, shape.max_bytes, asked.client)

    @property
    def kept(self) -> tuple[int, ...]:
        """How much was kept of queries, of each kind."""
        return *self._endings.sizes, *self._shapes.sizes

    def _keep_ending(self, asked: _Asked, shape: Shape) -> None:
        """Where the first label alone makes the difference, whatever it is."""
        # Of a name set apart the first label says which zone it is in.
        if not asked.labels or asked.name in self._apart:
            return
        after = 1 + len(asked.labels[0])
        origin = asked.name[after:]
        if shape.zone is not None and (
            self._zones[shape.zone].kind is not ZoneKind.DASHED
            or self._zones[shape.zone].origin != origin
        ):
            return
        ending = asked.wire[HEADER_BYTES + after :]
        # With letters of the other case there are too many, and a first label may be longer.
        if not ending.startswith(origin) or 1 + MAX_LABEL_BYTES + len(origin) > MAX_NAME_BYTES:
            return
        apart = frozenset(
            name[1 : 1 + name[0]] for name in self._apart if name[1 + name[0] :] == origin
        )
        # Of an address, it would have to be looked for before the table is.
        if any(b"-" in label for label in apart):
            return
        question_bytes = len(origin) + _TYPE_AND_CLASS_BYTES
        value = _Ending(shape, question_bytes, apart, is_any=shape.zone is None and not apart)
        self._endings.keep(asked.wire[_HEAD] + ending, asked.cookie, value)


def _listed(moment: _Moment, shape: Shape, facts: bytes, size: int) -> tuple[bytes, bytes]:
    """The header and the records for a first label in the table, of so many bytes."""
    if shape.zone is None:
        return shape.found, b""
    records = registered(shape, facts, is_ipv6=size == IPV6_LABEL_BYTES)
    if records:
        return shape.found, records
    return shape.empty, _POINTERS[HEADER_BYTES + 1 + size] + moment.absences[shape.zone]


def _key(asked: _Asked) -> bytes:
    """All that makes a shape."""
    zone = b"" if asked.zone is None else bytes([asked.zone])
    return asked.wire[_HEAD] + zone.rjust(1, b"\xff") + asked.after_name


def _with_serial(absence: bytes, serial: int) -> bytes:
    return absence[: _SERIAL.start] + serial.to_bytes(4) + absence[_SERIAL.stop :]
