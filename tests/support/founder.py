"""The founder, who alone is the board of a laboratory, decides; with commands, as people do it."""

from __future__ import annotations

from lab.cluster import Cluster
from lab.process import program, run


def decide(cluster: Cluster, *act: str) -> None:
    """`smtpnic board` proposes, signs and publishes an act such as `remove mirror-2`."""
    file = str(cluster.root / "-".join(act))
    for arguments in (
        ["propose", file, *act, "--reason=a test"],
        ["sign", file, f"--key={cluster.primary_dir / 'board.key'}"],
        ["publish", file],
    ):
        run([program("smtpnic"), "board", *arguments], env=cluster.cli_env)
