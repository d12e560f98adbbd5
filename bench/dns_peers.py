"""The other name servers: the same names for each, one thread, no rate limits, no logs.

Beside them an echo: what no server on the same system calls can surpass.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.dns_names import ORIGIN, dashed, dotted, host
from bench.results import PROJECT
from lab.process import run
from node.endpoint import Endpoint
from secondary.dns.dashed_zone import NAME_TTL
from secondary.dns.zone import NEGATIVE_TTL

# Where Debian keeps servers; not every user searches there.
_SERVER_PATH: Final = "/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin"
BUILD_SECONDS: Final = 60.0
_SOA: Final = "1 3600 600 1209600 60"
_TEXT: Final = "v=smtpnic1; since=2026-11-23; status=active; host="


@dataclass(frozen=True, slots=True)
class Data:
    """The names as files: a zone file, a data set of rbldnsd, and packed addresses for ours."""

    zone: Path
    dnset: Path
    packed: Path
    with_text: bool


def zone_lines(numbers: Iterable[int], *, with_text: bool) -> Iterable[str]:
    """A zone file (RFC 1035, 5) of an A record a name, and of a long TXT record if wanted."""
    yield f"$ORIGIN {ORIGIN}.\n$TTL {NAME_TTL}\n"
    yield f"@ {NEGATIVE_TTL} IN SOA a.ns.smtpnic.net. hostmaster.smtpnic.net. {_SOA}\n"
    yield "@ IN NS a.ns.smtpnic.net.\n"
    for number in numbers:
        yield f"{dashed(number)} IN A {dotted(number)}\n"
        if with_text:
            yield f'{dashed(number)} IN TXT "{_TEXT}{host(number, long=True)}"\n'


def dnset_lines(numbers: Iterable[int]) -> Iterable[str]:
    """rbldnsd's data: one value for all names, as in its own lists."""
    yield f"$SOA {NEGATIVE_TTL} a.ns.smtpnic.net. hostmaster.smtpnic.net. {_SOA}\n"
    yield f"$NS {NAME_TTL} a.ns.smtpnic.net.\n$TTL {NAME_TTL}\n"
    yield f":127.0.0.2:{_TEXT}{host(0, long=True)}\n"
    for number in numbers:
        yield f"{dashed(number)}\n"


Command = list[str]


def _nsd(data: Data, at: Endpoint, home: Path) -> Command:
    # Cookies on: ours and BIND answer them too.
    config = f"""server:
  ip-address: {at.host}@{at.port}
  server-count: 1
  do-ip6: no
  username: ""
  database: ""
  zonelistfile: "{home}/zones"
  xfrdfile: "{home}/xfrd"
  xfrdir: "{home}"
  pidfile: "{home}/pid"
  logfile: "{home}/log"
  verbosity: 0
  minimal-responses: yes
  answer-cookie: yes
  rrl-ratelimit: 0
  rrl-whitelist-ratelimit: 0
remote-control:
  control-enable: no
zone:
  name: {ORIGIN}
  zonefile: {data.zone}
"""
    return [program("nsd"), "-d", "-c", _written(home, config)]


def _knot(data: Data, at: Endpoint, home: Path) -> Command:
    config = f"""server:
    rundir: "{home}"
    listen: {at.host}@{at.port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: error
database:
    storage: "{home}"
zone:
  - domain: {ORIGIN}
    file: "{data.zone}"
    zonefile-sync: -1
    journal-content: none
"""
    return [program("knotd"), "-c", _written(home, config)]


def _rbldnsd(data: Data, at: Endpoint, home: Path) -> Command:
    shutil.copyfile(data.dnset, home / "names")
    where = f"{at.host}/{at.port}"
    # As root it becomes another user, which has to find its data.
    home.chmod(0o755)
    return [
        program("rbldnsd"),
        *("-n", "-c", "0", "-w", str(home), "-b", where),
        f"{ORIGIN}:dnset:names",
    ]


def _bind(data: Data, at: Endpoint, home: Path) -> Command:
    config = f"""options {{
  directory "{home}";
  pid-file "{home}/pid";
  session-keyfile "{home}/session.key";
  listen-on port {at.port} {{ {at.host}; }};
  listen-on-v6 {{ none; }};
  recursion no;
  minimal-responses yes;
  notify no;
  dnssec-validation no;
}};
controls {{ }};
logging {{ category default {{ null; }}; }};

zone "{ORIGIN}" {{ type primary; file "{data.zone}"; }};
"""
    return [program("named"), "-f", "-n", "1", "-c", _written(home, config)]


def _pdns(data: Data, at: Endpoint, home: Path) -> Command:
    zones = home / "zones"
    zones.write_text(f'zone "{ORIGIN}" {{ type master; file "{data.zone}"; }};\n')
    config = f"""launch=bind
bind-config={zones}
local-address={at.host}
local-port={at.port}
socket-dir={home}
daemon=no
guardian=no
disable-syslog=yes
loglevel=0
receiver-threads=1
distributor-threads=1
"""
    path = home / "pdns.conf"
    path.write_text(config)
    return [program("pdns_server"), f"--config-dir={home}"]


def _echo(_data: Data, at: Endpoint, home: Path) -> Command:
    return [str(compiled("dnsecho", home)), at.host, str(at.port)]


# What answers without looking: the kernel's share of every other.
ECHO: Final = "echo"
PEERS: Final[dict[str, Callable[[Data, Endpoint, Path], Command]]] = {
    "nsd": _nsd,
    "knot": _knot,
    "rbldnsd": _rbldnsd,
    "bind": _bind,
    "pdns": _pdns,
    ECHO: _echo,
}


def compiled(name: str, directory: Path) -> Path:
    """Builds a program of this directory; LabError with the compiler's text if that fails."""
    binary = directory / name
    source = PROJECT / "bench" / f"{name}.c"
    warnings = ("-Wall", "-Wextra", "-Werror")
    run([program("cc"), "-O2", *warnings, "-o", str(binary), str(source)], seconds=BUILD_SECONDS)
    return binary


def program(name: str) -> str:
    """Path of a program; SystemExit says how it is installed."""
    found = shutil.which(name, path=_SERVER_PATH)
    if found is None:
        raise SystemExit(f"no {name} here: run scripts/setup bench")
    return found


def _written(home: Path, config: str) -> str:
    path = home / "conf"
    path.write_text(config, encoding="ascii")
    return str(path)
