"""The common query answered in pure Python: bytes in, bytes out, and hardly an object made.

Whatever it answers, `secondary.dns.responder` would answer in the same bytes; what it does not
know it declines, and the responder is asked. What is kept between queries depends on nothing but
queries and zones: shapes, no answers, nothing of the table.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from secondary.dns.codes import OPCODE_QUERY, Option, Rcode
from secondary.dns.fast_path import ZoneKind
from secondary.dns.pure.names import (
    IPV4_BYTES,
    IPV4_RECORD,
    IPV6_LABEL_BYTES,
    Names,
    registered,
)
from secondary.dns.pure.shapes import COOKIE_BYTES, Shape, make_shape
from secondary.dns.query import (
    CLIENT_COOKIE_BYTES,
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

# Sound queries have some hundreds of shapes. Beyond this all are forgotten, and found again: who
# makes up new ones costs others a parse now and then.
MAX_KEPT: Final = 4096
# What is told apart by more bytes is not worth it.
MAX_KEY_BYTES: Final = 128

_ID: Final = slice(0, 2)
# Flags and counts.
_HEAD: Final = slice(2, HEADER_BYTES)
_RESPONSE_BIT: Final = 0x80
_TYPE_AND_CLASS_BYTES: Final = 4
# The serial within an SOA record.
_SERIAL: Final = slice(-20, -16)
# Compression pointers by what they point at (RFC 1035, 4.1.4).
_POINTERS: Final = [(0xC000 | at).to_bytes(2) for at in range(HEADER_BYTES + MAX_NAME_BYTES)]
# How queries end that have a cookie as their last option: lengths, and the option before it.
_COOKIES: Final = tuple(
    (size, Option.COOKIE.to_bytes(2) + size.to_bytes(2))
    for size in (CLIENT_COOKIE_BYTES, COOKIE_BYTES)
)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Ending:
    """What stands after a first label that alone makes the difference."""

    shape: Shape
    # Of the question, first label excluded.
    question_bytes: int
    # First labels, in lower case, with which it would be the name of something else.
    apart: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class _Moment:
    """What a batch is answered from; `absences` are SOA records, after their owners, by zone."""

    table: DictTable
    is_fresh: bool
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
        self._names = [Names(zone) for zone in self._zones]
        self._origins = [list(read_name(zone.origin, 0)[0]) for zone in self._zones]
        self._above = frozenset(responder.zones.above())
        # Names that may end as those of another zone do.
        self._apart = self._above | {zone.origin for zone in self._zones}
        self._cookies = responder.cookies
        self._tells_nsid = bool(responder.identity.nsid)
        self._max_silence_s = responder.max_silence_seconds
        self._limiter = limiter
        self._is_limited = any(limiter.costs_us)
        self._absences: tuple[int, tuple[bytes, ...]] = (-1, ())
        self._endings: dict[bytes, _Ending] = {}
        self._shapes: dict[bytes, Shape] = {}
        # Of queries that end in a cookie, which is not part of the key.
        self._cookie_shapes: dict[bytes, Shape] = {}

    def answer_one(
        self, table: DictTable, wire: bytes, client: bytes, now_s: int, now_us: int
    ) -> bytes | None:
        """The answer to one query, empty for silence; None when the responder has to be asked."""
        return self.answer_all(table, [(wire, client)], now_s, now_us)[0]

    def answer_all(
        self, table: DictTable, queries: Iterable[tuple[bytes, bytes]], now_s: int, now_us: int
    ) -> list[bytes | None]:
        """The same for queries and the clients they came from, all at one time.

        Written out here is what nearly everybody asks: a dashed name, without a cookie.
        """
        moment = self._moment(table, now_s, now_us)
        absences, find, ending_of = moment.absences, table.facts.get, self._endings.get
        is_limited, join = self._is_limited, b"".join
        answers: list[bytes | None] = []
        for wire, client in queries:
            size = wire[HEADER_BYTES] if len(wire) > HEADER_BYTES else 0
            after = HEADER_BYTES + 1 + size
            ending = ending_of(wire[_HEAD] + wire[after:])
            if ending is None or not (moment.is_fresh and 0 < size <= MAX_LABEL_BYTES):
                answers.append(self._answer(moment, wire, client))
                continue
            shape, label = ending.shape, wire[HEADER_BYTES + 1 : after]
            zone = shape.zone
            facts = None if zone is None else find(label)
            if facts is None and (size == IPV6_LABEL_BYTES or label.lower() in ending.apart):
                # It may have letters of the other case, or be the name of something else.
                answers.append(self._answer(moment, wire, client))
                continue
            head, records = shape.found, b""
            if facts is not None:
                if shape.wants_ipv4 and size != IPV6_LABEL_BYTES:
                    records = IPV4_RECORD + facts[:IPV4_BYTES]
                else:
                    records = registered(shape, facts, is_ipv6=size == IPV6_LABEL_BYTES)
            if not records and zone is not None:
                head = shape.absent if facts is None else shape.empty
                records = _POINTERS[after] + absences[zone]
            question = wire[HEADER_BYTES : after + ending.question_bytes]
            answer = join((wire[_ID], head, question, records, shape.opt))
            if is_limited or len(answer) > shape.max_bytes:
                response = Response(answer, len(question), len(shape.opt))
                answer = self._bounded(moment, response, shape.max_bytes, client)
            answers.append(answer)
        return answers

    def _moment(self, table: DictTable, now_s: int, now_us: int) -> _Moment:
        standing = table.standing
        serial = standing.position.state.zone_serial
        known, absences = self._absences
        if known != serial:
            absences = tuple(_with_serial(zone.absence, serial) for zone in self._zones)
            self._absences = serial, absences
        # Which table is too old the responder knows, and to the fraction of a second.
        is_fresh = now_s + 1 - standing.vouched_s <= self._max_silence_s
        return _Moment(table, is_fresh, absences, now_s, now_us)

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
        asked = self._read(wire, client)
        shape = None if asked is None else self._known_shape(asked)
        if asked is None or shape is None:
            return self._answer_new(moment, wire, client, asked)
        return self._answer_shape(moment, asked, shape)

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

    def _answer_new(
        self, moment: _Moment, wire: bytes, client: bytes, asked: _Asked | None
    ) -> bytes | None:
        """Of a shape that is not known yet, or malformed."""
        header = parse_header(wire)
        assert header is not None
        if header.opcode != OPCODE_QUERY:
            return self._bounded(moment, bare(header, Rcode.NOTIMP), HEADER_BYTES, client)
        # A query without a question is for a cookie alone.
        if header.questions == 0:
            return None
        try:
            query = parse_query(wire, header)
        except QueryFormatError:
            return self._bounded(moment, bare(header, Rcode.FORMERR), HEADER_BYTES, client)
        assert asked is not None
        if query.edns is not None:
            if query.edns.wants_nsid and self._tells_nsid:
                return None
            asked.cookie = query.edns.cookie or b""
        shape = make_shape(header, query, asked.zone)
        if shape is None:
            return None
        self._keep_shape(asked, shape)
        return self._answer_shape(moment, asked, shape)

    def _answer_shape(self, moment: _Moment, asked: _Asked, shape: Shape) -> bytes | None:
        if asked.name in self._above:
            return None
        head, records = shape.found, b""
        if shape.zone is not None:
            below = asked.labels[: -len(self._origins[shape.zone])]
            # An apex has more records than are worth it.
            if not (below and moment.is_fresh):
                return None
            found = self._names[shape.zone].find(below, shape, moment.table)
            if not found:
                head = shape.absent if found is None else shape.empty
                origin = len(asked.name) - len(self._zones[shape.zone].origin)
                found = _POINTERS[HEADER_BYTES + origin] + moment.absences[shape.zone]
            records = found
        opt, is_known = shape.opt, False
        if asked.cookie:
            cookie, is_known = self._cookies.answer(asked.cookie, asked.client, moment.now_s)
            opt += cookie + shape.opt_end
        else:
            self._keep_ending(asked, shape)
        question_bytes = len(asked.name) + _TYPE_AND_CLASS_BYTES
        question = asked.wire[HEADER_BYTES : HEADER_BYTES + question_bytes]
        answer = b"".join((asked.wire[_ID], head, question, records, opt))
        response = Response(answer, question_bytes, len(opt), is_known)
        return self._bounded(moment, response, shape.max_bytes, asked.client)

    @property
    def kept(self) -> tuple[int, int, int]:
        """How much was kept of queries, of each kind."""
        return len(self._endings), len(self._shapes), len(self._cookie_shapes)

    # --- what is kept ---------------------------------------------------------------

    def _known_shape(self, asked: _Asked) -> Shape | None:
        """The shape of a query that is like an earlier one; its cookie is taken out."""
        key = _key(asked)
        shape = self._shapes.get(key)
        if shape is not None:
            return shape
        for size, option in _COOKIES:
            if key[-size - len(option) : -size] == option:
                shape = self._cookie_shapes.get(key[:-size])
                if shape is not None:
                    asked.cookie = key[-size:]
                    return shape
        return None

    def _keep_shape(self, asked: _Asked, shape: Shape) -> None:
        key = _key(asked)
        if not asked.cookie:
            _keep(self._shapes, key, shape)
            return
        for size, option in _COOKIES:
            if key[-size - len(option) :] == option + asked.cookie:
                _keep(self._cookie_shapes, key[:-size], shape)

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
        _keep(self._endings, asked.wire[_HEAD] + ending, _Ending(shape, question_bytes, apart))


def _keep(kept: dict[bytes, _T], key: bytes, value: _T) -> None:
    if len(kept) >= MAX_KEPT:
        kept.clear()
    if len(key) <= MAX_KEY_BYTES:
        kept[key] = value


def _key(asked: _Asked) -> bytes:
    """All that makes a shape."""
    zone = b"" if asked.zone is None else bytes([asked.zone])
    return asked.wire[_HEAD] + zone.rjust(1, b"\xff") + asked.after_name


def _with_serial(absence: bytes, serial: int) -> bytes:
    return absence[: _SERIAL.start] + serial.to_bytes(4) + absence[_SERIAL.stop :]
