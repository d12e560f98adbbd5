"""The machine that a node runs on: its disk, its ports, its clock."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import struct
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.doctor.finding import Finding, bad, good, poor, skipped
from node.endpoint import Endpoint

# As the alert SmtpnicDiskFull.
POOR_SHARE: Final = 0.1
# A snapshot of a million records and a batch or two.
LEAST_BYTES: Final = 1 << 30
ASK_SECONDS: Final = 3.0
# Freshness is stated in whole seconds, and comes every few.
CLOCK_GOOD_SECONDS: Final = 2.0
CLOCK_BAD_SECONDS: Final = 10.0
# RFC 4330: between the eras of NTP and of UNIX.
_NTP_EPOCH: Final = 2_208_988_800
_NTP_REPLY: Final = struct.Struct("!BBBb11I")


def check_disk(directory: Path) -> Iterator[Finding]:
    """Whether the data can be written, and for how long there is room."""
    if not directory.is_dir():
        yield poor("disk", f"{directory} is not there yet", "the first start makes it")
        return
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        yield bad(
            "disk",
            f"user {os.geteuid()} cannot write to {directory}",
            "give it to the user that the service runs as: chown -R",
        )
    usage = shutil.disk_usage(directory)
    found = f"{usage.free / 2**30:.1f} of {usage.total / 2**30:.1f} GiB free at {directory}"
    if usage.free < LEAST_BYTES:
        yield bad("disk", found, "make room, or move data_dir to a larger disk")
    elif usage.free < usage.total * POOR_SHARE:
        yield poor("disk", found, "make room, or move data_dir to a larger disk")
    else:
        yield good("disk", found)


@dataclass(frozen=True, slots=True)
class Port:
    """Where a process is to listen, over which transports, and by which setting."""

    setting: str
    endpoint: Endpoint
    kinds: tuple[socket.SocketKind, ...] = (socket.SOCK_STREAM,)


def is_alive(http: Endpoint) -> bool:
    """Whether the process behind this monitoring listener runs."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(http.host, http.host)  # noqa: S104
    try:
        url = f"http://{Endpoint(host, http.port)}/livez"
        with urllib.request.urlopen(url, timeout=ASK_SECONDS) as reply:
            return bool(reply.read() == b"ok\n")
    except (urllib.error.URLError, OSError):
        return False


def check_ports(name: str, http: Endpoint, ports: Sequence[Port]) -> Iterator[Finding]:
    """Whether a process listens where it should, or could if it ran."""
    if is_alive(http):
        places = ", ".join(str(port.endpoint) for port in ports)
        yield good("ports", f"{name} runs, and has {places}")
        return
    yield bad("process", f"{name} does not answer at {http}", f"start it, or read its log: {name}")
    for port in ports:
        yield from (_check_port(port, kind) for kind in port.kinds)


def _check_port(port: Port, kind: socket.SocketKind) -> Finding:
    transport = "UDP" if kind is socket.SOCK_DGRAM else "TCP"
    where = f"{port.endpoint} ({transport}, {port.setting})"
    family = socket.AF_INET6 if ":" in port.endpoint.host else socket.AF_INET
    with closing(socket.socket(family, kind)) as probe:
        if kind is socket.SOCK_STREAM:
            # What was closed a moment ago is not in the way.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((port.endpoint.host, port.endpoint.port))
        except OSError as error:
            return _unbindable(where, port, error)
    return good("ports", f"{where} is free")


def _unbindable(where: str, port: Port, error: OSError) -> Finding:
    match error.errno:
        case errno.EADDRINUSE:
            return bad(
                "ports",
                f"another process has {where}",
                f"find it with: ss -lnptu 'sport = :{port.endpoint.port}'; end it, "
                f"or change {port.setting}",
            )
        case errno.EACCES:
            return bad(
                "ports",
                f"this user may not listen at {where}",
                "give the service CAP_NET_BIND_SERVICE (the unit does), or set "
                "net.ipv4.ip_unprivileged_port_start",
            )
        case errno.EADDRNOTAVAIL:
            return bad(
                "ports",
                f"this machine has no address {port.endpoint.host}, for {port.setting}",
                f"add the address, or set {port.setting} to one of: ip address",
            )
    return bad("ports", f"{where}: {error.strerror}", f"change {port.setting}")


def check_clock(offset: float, beside: str, uncertainty: float = 0.0) -> Finding:
    """The clock is `offset` seconds ahead of `beside`; it may be less by `uncertainty`."""
    surely = max(0.0, abs(offset) - uncertainty)
    found = f"{abs(offset):.1f} s {'ahead of' if offset >= 0 else 'behind'} {beside}"
    advice = "set the clock by NTP: systemctl enable --now systemd-timesyncd, or chrony"
    if surely > CLOCK_BAD_SECONDS:
        return bad("clock", found, advice)
    return poor("clock", found, advice) if surely > CLOCK_GOOD_SECONDS else good("clock", found)


def check_ntp(server: str) -> Iterator[Finding]:
    """The clock beside an NTP server (RFC 4330); without one, what systemd says of the clock."""
    if not server:
        yield _synchronized()
        return
    host, _, port = server.partition(":")
    try:
        offset = ntp_offset(host, int(port or 123))
    except (OSError, ValueError) as error:
        yield skipped("clock", f"NTP server {server} does not answer: {error}")
    else:
        yield check_clock(-offset, f"NTP server {server}", ASK_SECONDS / 10)


def ntp_offset(host: str, port: int) -> float:
    """Seconds that a server is ahead of this clock; OSError, ValueError: it does not tell."""
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with closing(socket.socket(family, kind)) as asking:
        asking.settimeout(ASK_SECONDS)
        asking.connect(address)
        sent = time.time()
        asking.send(b"\x23" + bytes(47))
        reply = asking.recv(512)
        received = time.time()
    if len(reply) < _NTP_REPLY.size:
        raise ValueError("that is no NTP")
    fields = _NTP_REPLY.unpack_from(reply)
    if fields[1] == 0:
        raise ValueError("it is not synchronised itself")
    seconds = float(fields[13] - _NTP_EPOCH + fields[14] / 2**32)
    return seconds - (sent + received) / 2


def _synchronized() -> Finding:
    command = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
    try:
        done = subprocess.run(  # noqa: S603 - the words above
            command, capture_output=True, text=True, timeout=ASK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return skipped("clock", "nobody here tells whether NTP runs; --ntp HOST asks a server")
    match done.stdout.strip():
        case "yes":
            return good("clock", "systemd says that it is synchronised")
        case "no":
            advice = "systemctl enable --now systemd-timesyncd, or install chrony"
            return poor("clock", "systemd says that it is not synchronised", advice)
    return skipped("clock", "nobody here tells whether NTP runs; --ntp HOST asks a server")
