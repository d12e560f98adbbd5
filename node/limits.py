"""Limits of a process towards its neighbours, each with its precedent."""

from __future__ import annotations

from typing import Final

# A probe and two scrapers ask at once; kube-probe and Prometheus open one connection each.
MAX_MONITORING_REQUESTS: Final = 8
# Prometheus' default scrape timeout is 10 s: who is slower gets nothing from waiting.
MONITORING_SECONDS: Final = 10.0

# gRPC's keepalive guide: not more often than once a minute without need. A mirror should know
# within half a minute that its upstream is gone without a word.
KEEPALIVE_MS: Final = 20_000
KEEPALIVE_TIMEOUT_MS: Final = 10_000
# A server closes the connection of clients that ping more often than this (gRPC's default is
# 300,000, which would close ours); half the interval, so that jitter is no offence.
MIN_PING_INTERVAL_MS: Final = KEEPALIVE_MS // 2

# gRPC's default: a batch is 1 MiB at most, a snapshot and tiles come in pieces.
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024

# gRPC's soft limit; requests here carry next to none.
MAX_METADATA_BYTES: Final = 8 * 1024
# Who connects and says nothing is gone by then; gRPC would wait for two minutes.
HANDSHAKE_MS: Final = 10_000

# sun_path of unix(7), less its closing zero byte.
MAX_SOCKET_PATH_BYTES: Final = 107

# gRPC's connection back-off (doc/connection-backoff.md) with shorter delays: a refused
# connection costs little, and a mirror should be back seconds after its upstream is.
BACKOFF_FIRST_SECONDS: Final = 0.2
BACKOFF_MAX_SECONDS: Final = 10.0
BACKOFF_FACTOR: Final = 1.6
BACKOFF_JITTER: Final = 0.2
