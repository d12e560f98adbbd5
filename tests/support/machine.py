"""A machine of its own with a real systemd: a copy-on-write copy of this one, as root."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Final

SECONDS: Final = 200.0

# The first arguments are a directory for mounts, one to copy in, and the script to run inside.
_OUTSIDE: Final = r"""
set -eu
scratch="$1" files="$2" script="$3"
mount -t tmpfs tmpfs "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
root="$scratch/root"
mount -t overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" overlay "$root"
cp -a "$files"/* "$root/"
cp "$script" "$root/try.sh"
# What is enabled on this machine may want the same ports.
rm -f "$root"/etc/systemd/system/*.wants/*
printf '%s\n' '[Unit]' 'AllowIsolate=yes' 'Requires=basic.target try.service' \
    >"$root/etc/systemd/system/try.target"
printf '%s\n' '[Unit]' 'After=basic.target' '[Service]' 'Type=oneshot' \
    'ExecStart=/bin/bash -x /try.sh' 'StandardOutput=append:/try.out' \
    'StandardError=append:/try.out' 'ExecStopPost=/bin/systemctl poweroff -ff' \
    >"$root/etc/systemd/system/try.service"
systemd-nspawn --quiet --directory="$root" --private-network --register=no --keep-unit \
    --console=pipe --boot systemd.unit=try.target >"$root/boot.out" 2>&1 </dev/null || true
cat "$root/try.out" 2>/dev/null || { cat "$root/boot.out"; exit 1; }
"""


def run_on_machine(scratch: Path, files: Path, script: str) -> str:
    """All that a script says which systemd runs as root on a copy of this machine.

    `files` are put over it before. Its network is its own, `lo` alone. AssertionError when
    it could not be started.
    """
    scratch.mkdir()
    inside = scratch.with_suffix(".sh")
    inside.write_text(script, encoding="utf-8")
    command = ["bash", "-c", _OUTSIDE, "machine", *map(str, (scratch, files, inside))]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"exec {shlex.join(command)}"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
