from collections.abc import Mapping, Sequence

from secondary.dns.compiled.table import CompiledTable
from secondary.dns.fast_path import FastZone
from secondary.dns.rate_limit import RateLimiter

class FastPath:
    def __init__(
        self,
        zones: Sequence[FastZone],
        above: Sequence[bytes],
        special: Sequence[tuple[bytes, bytes]],
        words: Mapping[int, bytes],
        cookie_keys: Sequence[bytes],
        limiter: RateLimiter,
        *,
        tells_nsid: bool,
    ) -> None: ...
    def answer_one(
        self, table: CompiledTable, wire: bytes, client: bytes, now_s: int, now_us: int
    ) -> bytes | None: ...
