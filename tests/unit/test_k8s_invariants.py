"""The manifests fit together, and fit the programs: ports, probes, flags, settings, Secrets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest
import typer

import primary.cli
import secondary.cli
from node.endpoint import Endpoint
from node.settings import Settings
from primary.settings import PrimarySettings
from secondary.settings import SecondarySettings
from tests.support.manifests import (
    OVERLAYS,
    ROOT,
    Pod,
    Resource,
    commands,
    config_map,
    of_kind,
    pods,
    rendered,
    selects,
    variables,
)

PROGRAMS: Final = {"smtpnic-primary": primary.cli.app, "smtpnic-secondary": secondary.cli.app}
SETTINGS: Final[dict[str, type[Settings]]] = {
    "SMTPNIC_PRIMARY_": PrimarySettings,
    "SMTPNIC_SECONDARY_": SecondarySettings,
}
# As `init` and `join` write them with the flags that the manifests give (the next test but one).
INITIAL: Final = {
    "smtpnic-primary": 'origin = "smtpnic.example"\n[public]\nlisten = "0.0.0.0:7441"\n'
    '[nodes]\nlisten = "0.0.0.0:7442"\n[log]\nlisten = "0.0.0.0:7444"\n'
    '[http]\nlisten = "0.0.0.0:7440"\n',
    "smtpnic-follower": 'name = "m"\nupstream = "p:7442"\n[mirror]\nlisten = "0.0.0.0:7443"\n'
    '[log]\nlisten = "0.0.0.0:7445"\n[follower]\nhttp = "0.0.0.0:7450"\n',
}
# What a container says in a script, to the shell alone.
OWN_VARIABLES: Final = {"ORIGIN", "PRIMARY_NAME", "POD_NAME"}
# Made by cert-manager; docs/kubernetes.md names those that people make.
MADE: Final = {"etcd-tls", "etcd-client-tls"}

# `production` has those of a mirror; addresses and hostPort are in no overlay.
every_overlay = pytest.mark.parametrize("overlay", [*OVERLAYS, "primary+postgresql"])


def listeners(pod: Pod, settings: Settings) -> dict[int, str]:
    """The ports that the program of a pod opens, with `section.key` of each."""
    roles: dict[str, tuple[str, ...]] = {
        "smtpnic-primary": ("public", "nodes", "log", "http", "web", "whois", "rdap"),
        "smtpnic-follower": ("follower", "mirror", "log", "relay"),
        "smtpnic-dns": ("dns",),
        "smtpnic-whois": ("whois", "rdap"),
    }
    found = {}
    for section in roles[pod.name]:
        for key in ("listen", "http"):
            endpoint = getattr(getattr(settings, section), key, None)
            if isinstance(endpoint, Endpoint):
                assert endpoint.host == "0.0.0.0", f"{section}.{key} hears nobody but itself"
                found[endpoint.port] = f"{section}.{key}"
    return found


def load(
    resources: tuple[Resource, ...], pod: Pod, tmp_path: Path, patch: pytest.MonkeyPatch
) -> Settings:
    """The settings as the pod's program reads them: file, and variables above it."""
    (container,) = pod.spec["containers"]
    for name, value in variables(resources, container).items():
        if name.startswith(tuple(SETTINGS)):
            patch.setenv(name, "postgresql://db/registry" if value == "?" else value)
    text = (
        INITIAL.get(pod.name)
        or config_map(resources, mounted(pod, "smtpnic-secondary"))["secondary.toml"]
    )
    path = tmp_path / f"{pod.name}.toml"
    path.write_text(text)
    program = container["command"][0]
    return SETTINGS[f"{program.upper().replace('-', '_')}_"].load(path)


def mounted(pod: Pod, prefix: str) -> str:
    """The name, with its hash, of a ConfigMap that the pod mounts."""
    names: list[str] = [
        source["configMap"]["name"]
        for volume in pod.spec["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
    ]
    return next(name for name in names if name.startswith(prefix))


def ours(overlay: str) -> list[Pod]:
    return [pod for pod in pods(rendered(overlay)) if pod.name.startswith("smtpnic-")]


@every_overlay
def test_settings_load_and_ports_are_those_that_are_opened(
    overlay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files and variables are good settings; a container's ports are open, on all addresses."""
    for pod in ours(overlay):
        with monkeypatch.context() as patch:
            opened = listeners(pod, load(rendered(overlay), pod, tmp_path, patch))
        named = {number for _, number in pod.ports}
        # The page and WHOIS of the primary are there where the settings turn them on.
        optional = {7447, 4343} if pod.name == "smtpnic-primary" else set()
        assert named - optional <= set(opened), pod.name
        assert set(opened) <= named, pod.name


@every_overlay
def test_probes_ask_where_monitoring_answers(
    overlay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of our pods is asked at the port of its `http`, alive at /livez, ready at /readyz."""
    for pod in ours(overlay):
        with monkeypatch.context() as patch:
            opened = listeners(pod, load(rendered(overlay), pod, tmp_path, patch))
        (container,) = pod.spec["containers"]
        for kind, path in (("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
            get = container[kind]["httpGet"]
            assert get["path"] == path
            number = pod.port(get["port"])
            assert number is not None
            assert opened[number] in {"http.listen", "follower.http", "dns.http", "whois.http"}


@every_overlay
def test_draining_ends_before_the_pod_is_killed(
    overlay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kubernetes waits longer than drain_seconds, and ten seconds for what comes after."""
    for pod in ours(overlay):
        with monkeypatch.context() as patch:
            settings: Any = load(rendered(overlay), pod, tmp_path, patch)
        assert pod.spec["terminationGracePeriodSeconds"] >= settings.drain_seconds + 10, pod.name


@every_overlay
def test_commands_and_flags_exist(overlay: str) -> None:
    """Each program, its subcommand and every flag that a manifest gives is there."""
    for pod in ours(overlay):
        for container in pod.containers:
            found = list(commands(container))
            assert found, container["name"]
            for program, subcommand, *words in found:
                known: Any = typer.main.get_command(PROGRAMS[program])
                options = {
                    option
                    for parameter in known.commands[subcommand].params
                    for option in parameter.opts
                }
                flags = {word for word in words if re.fullmatch(r"--?[a-z][a-z-]*", word)}
                assert flags <= options, (program, subcommand)


@every_overlay
def test_variables_are_read(overlay: str) -> None:
    """A variable is a setting, etcd's own, or used in the script; one that refers comes later."""
    for pod in pods(rendered(overlay)):
        for container in pod.containers:
            script = " ".join(container["command"])
            known: set[str] = set()
            for name, value in variables(rendered(overlay), container).items():
                if name in OWN_VARIABLES:
                    assert f"${name}" in script
                else:
                    assert name.startswith((*SETTINGS, "ETCD_", "ETCDCTL_")), name
                assert set(re.findall(r"\$\(([A-Z_]+)\)", value)) <= known, name
                known.add(name)


@every_overlay
def test_kubernetes_adds_no_variables(overlay: str) -> None:
    """A Service smtpnic-primary would else become SMTPNIC_PRIMARY_..., which settings refuse."""
    for pod in pods(rendered(overlay)):
        assert pod.spec["enableServiceLinks"] is False, pod.name
        assert pod.spec["automountServiceAccountToken"] is False, pod.name


@every_overlay
def test_services_lead_to_ports_of_pods(overlay: str) -> None:
    """Each Service selects pods, and each of its ports is one of theirs, by the same protocol."""
    resources = rendered(overlay)
    for service in of_kind(resources, "Service"):
        spec = service["spec"]
        chosen = [
            pod for pod in pods(resources) if selects({"matchLabels": spec["selector"]}, pod.labels)
        ]
        assert len(chosen) == 1, service["metadata"]["name"]
        for port in spec["ports"]:
            target = chosen[0].port(port["targetPort"], port.get("protocol", "TCP"))
            assert target is not None, (service["metadata"]["name"], port)


@every_overlay
def test_workloads_select_their_own_pods(overlay: str) -> None:
    """Selectors are labels of the template, and of no other workload's."""
    resources = rendered(overlay)
    for pod in pods(resources):
        if pod.workload["kind"] == "CronJob":
            continue
        selector = pod.workload["spec"]["selector"]
        assert [p.name for p in pods(resources) if selects(selector, p.labels)] == [pod.name]
    services = {service["metadata"]["name"] for service in of_kind(resources, "Service")}
    for workload in of_kind(resources, "StatefulSet"):
        assert workload["spec"]["serviceName"] in services


@every_overlay
def test_budgets_leave_room_to_drain_a_node(overlay: str) -> None:
    """A budget selects one workload, and lets one pod go while another stays."""
    resources = rendered(overlay)
    for budget in of_kind(resources, "PodDisruptionBudget"):
        spec = budget["spec"]
        (pod,) = [pod for pod in pods(resources) if selects(spec["selector"], pod.labels)]
        replicas = pod.workload["spec"]["replicas"]
        assert 1 <= spec["maxUnavailable"] < replicas, pod.name
        if pod.name == "etcd":
            assert replicas - spec["maxUnavailable"] > replicas // 2


@every_overlay
def test_pods_are_spread(overlay: str) -> None:
    """Several pods of one workload go to different nodes and zones, where there are some."""
    several = [p for p in pods(rendered(overlay)) if p.workload["spec"].get("replicas", 1) > 1]
    for pod in several:
        apart = pod.spec.get("affinity", {}).get("podAntiAffinity", {})
        required = apart.get("requiredDuringSchedulingIgnoredDuringExecution", [])
        spread = [*pod.spec["topologySpreadConstraints"], *required]
        assert {"kubernetes.io/hostname", "topology.kubernetes.io/zone"} == {
            each["topologyKey"] for each in spread
        }, pod.name
        assert all(selects(each["labelSelector"], pod.labels) for each in spread)


@every_overlay
def test_network_policies_name_what_is_there(overlay: str) -> None:
    """Each pod has a policy both ways, and what a policy lets in are ports of its pods."""
    resources = rendered(overlay)
    policies = of_kind(resources, "NetworkPolicy")
    for pod in pods(resources):
        both = [
            policy["spec"]
            for policy in policies
            if selects(policy["spec"]["podSelector"], pod.labels)
        ]
        assert {kind for spec in both for kind in spec["policyTypes"]} == {"Ingress", "Egress"}
    for policy in policies:
        spec = policy["spec"]
        chosen = [pod for pod in pods(resources) if selects(spec["podSelector"], pod.labels)]
        assert chosen, policy["metadata"]["name"]
        if policy["metadata"]["name"] == "smtpnic-metrics":
            continue
        let_in = {
            (port["protocol"], port["port"])
            for rule in spec.get("ingress", [])
            for port in rule["ports"]
        }
        assert let_in <= chosen[0].ports, policy["metadata"]["name"]


@every_overlay
def test_public_services_keep_addresses_and_are_let_in(overlay: str) -> None:
    """What the Internet reaches shows clients' own addresses, and policies let it in."""
    resources = rendered(overlay)
    for service in of_kind(resources, "Service"):
        spec = service["spec"]
        if spec.get("type") != "LoadBalancer":
            continue
        assert spec["externalTrafficPolicy"] == "Local"
        (pod,) = [
            p for p in pods(resources) if selects({"matchLabels": spec["selector"]}, p.labels)
        ]
        from_anywhere = {
            (port["protocol"], port["port"])
            for policy in of_kind(resources, "NetworkPolicy")
            if selects(policy["spec"]["podSelector"], pod.labels)
            for rule in policy["spec"].get("ingress", [])
            if "from" not in rule
            for port in rule["ports"]
        }
        for port in spec["ports"]:
            protocol = port.get("protocol", "TCP")
            assert (protocol, pod.port(port["targetPort"], protocol)) in from_anywhere


@every_overlay
def test_pods_are_restricted(overlay: str) -> None:
    """No root, no privilege, nothing written but volumes; memory is bounded, CPU asked for."""
    for pod in pods(rendered(overlay)):
        security = pod.spec["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == security["fsGroup"] == 10001
        assert security["fsGroupChangePolicy"] == "OnRootMismatch"
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod.containers:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False
            assert own["readOnlyRootFilesystem"] is True
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])


@every_overlay
def test_volumes_are_there_and_used(overlay: str) -> None:
    """Each mount has a volume, each volume a mount; Secrets are those that documents name."""
    for pod in pods(rendered(overlay)):
        claims = [
            c["metadata"]["name"] for c in pod.workload["spec"].get("volumeClaimTemplates", [])
        ]
        volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", [])}
        mounts = {
            mount["name"]
            for container in pod.containers
            for mount in container.get("volumeMounts", [])
        }
        assert mounts == {*claims, *volumes}, pod.name
        used = {volume["secret"]["secretName"] for volume in volumes.values() if "secret" in volume}
        document = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
        assert all(f"Secret `{name}`" in document for name in used - MADE)


@every_overlay
def test_mounted_files_are_read(overlay: str) -> None:
    """Where a Secret is mounted, a variable or the script names a file below."""
    for pod in pods(rendered(overlay)):
        secret = {v["name"] for v in pod.spec.get("volumes", []) if "secret" in v}
        for container in pod.containers:
            said = [
                *variables(rendered(overlay), container).values(),
                *container["command"],
            ]
            for mount in container.get("volumeMounts", []):
                if mount["name"] in secret:
                    below = f"{mount['mountPath']}/"
                    assert any(below in text for text in said), (pod.name, mount)


@every_overlay
def test_etcd_knows_its_members(overlay: str) -> None:
    """As many members as pods; what asks etcd asks each of them, by the names of the Service."""
    resources = rendered(overlay)
    for pod in pods(resources):
        if pod.name != "etcd":
            continue
        said = variables(resources, pod.spec["containers"][0])
        scheme = said["ETCD_LISTEN_PEER_URLS"].partition(":")[0]
        names = [f"etcd-{number}" for number in range(pod.workload["spec"]["replicas"])]
        peers = ",".join(f"{name}={scheme}://{name}.etcd-peers:2380" for name in names)
        assert said["ETCD_INITIAL_CLUSTER"] == peers
        assert int(said["ETCD_QUOTA_BACKEND_BYTES"]) == 8 << 30
        endpoints = ",".join(f'"{name}.etcd-peers:2379"' for name in names)
        for reader in ours(overlay):
            if reader.name != "smtpnic-primary":
                read = variables(resources, reader.spec["containers"][0])
                assert read["SMTPNIC_SECONDARY_ETCD__ENDPOINTS"] == f"[{endpoints}]"
                assert ("SMTPNIC_SECONDARY_ETCD__CA" in read) == (scheme == "https")
