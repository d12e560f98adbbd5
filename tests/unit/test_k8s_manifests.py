"""Kubernetes would take what k8s/ renders to: overlays whole, each component where it belongs."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any, Final

import kubernetes_validate
import kubernetes_validate.utils
import pytest

from tests.support.foreign_kinds import MODELS, check_foreign
from tests.support.manifests import K8S, OVERLAYS, Resource, of_kind, pods, rendered

OLDEST: Final = "1.26"
NEWEST: Final = kubernetes_validate.latest_version()
READ: Final = cache(kubernetes_validate.utils.schema_contents)
# Where each component can be put, other than into `production`.
BESIDE: Final = {
    "aws": "mirror",
    "cert-manager": "mirror",
    "dns-hostport": "mirror",
    "metallb": "mirror",
    "postgresql": "primary",
    "prometheus-operator": "mirror",
}


@pytest.fixture(autouse=True)
def schemas_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library reads a megabyte of definitions anew for each resource."""
    monkeypatch.setattr(kubernetes_validate.utils, "schema_contents", READ)


def check(resources: tuple[Resource, ...] | list[Resource], version: str) -> None:
    """Strictly: a key that its kind does not know is an error."""
    for resource in resources:
        if resource["apiVersion"] in MODELS:
            check_foreign(resource)
        else:
            kubernetes_validate.validate(dict(resource), version, strict=True)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_overlay_is_what_kubernetes_takes(overlay: str, version: str) -> None:
    """Each resource is good by the schemas of the oldest and the newest Kubernetes."""
    check(rendered(overlay), version)


def test_every_component_is_tried() -> None:
    """Each directory of components has a place where the next test puts it."""
    assert set(BESIDE) == {path.name for path in (K8S / "components").iterdir()}


@pytest.mark.parametrize("component", BESIDE)
def test_component_is_what_kubernetes_takes(component: str) -> None:
    """Each component changes what it stands beside, and the outcome is good too."""
    changed = rendered(f"{BESIDE[component]}+{component}")
    assert rendered(BESIDE[component]) != changed
    for version in (OLDEST, NEWEST):
        check(changed, version)


def a_misspelt_field(resource: Any) -> None:
    resource["spec"]["secretname"] = "x"


def a_misspelt_field_of_metadata(resource: Any) -> None:
    resource["metadata"]["lables"] = {}


def a_field_of_a_part(resource: Any) -> None:
    parts = resource["spec"]
    (parts.get("groups") or parts.get("podMetricsEndpoints") or [parts])[0]["sise"] = 1


def spec_of_another_type(resource: Any) -> None:
    resource["spec"] = "x"


@pytest.mark.parametrize(
    "spoil",
    [a_misspelt_field, a_misspelt_field_of_metadata, a_field_of_a_part, spec_of_another_type],
)
def test_a_mistake_in_a_kind_of_others_is_found(spoil: Callable[[Any], None]) -> None:
    """Each kind that cert-manager and the Prometheus operator bring is refused with a mistake."""
    resources = rendered("production")
    foreign = {r["kind"]: r for r in resources if r["apiVersion"] in MODELS}
    assert {"Certificate", "Issuer", "PodMonitor", "PrometheusRule"} == set(foreign)
    for resource in foreign.values():
        spoilt = deepcopy(dict(resource))
        spoil(spoilt)
        with pytest.raises(ValueError, match="validation error"):
            check_foreign(spoilt)


def test_hostport_opens_both_protocols_of_the_node() -> None:
    """UDP and TCP 53 of the node lead to the pod, and the namespace allows that."""
    resources = rendered("mirror+dns-hostport")
    (dns,) = [pod for pod in pods(resources) if pod.name == "smtpnic-dns"]
    opened = {
        (port["protocol"], port["containerPort"], port["hostPort"])
        for port in dns.spec["containers"][0]["ports"]
        if "hostPort" in port
    }
    assert opened == {("UDP", 5353, 53), ("TCP", 5353, 53)}
    (namespace,) = of_kind(resources, "Namespace")
    assert "privileged" == namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]


def test_names_are_given_once() -> None:
    """No overlay has two resources of one kind and name."""
    for overlay in OVERLAYS:
        names = [(r["kind"], r["metadata"]["name"]) for r in rendered(overlay)]
        assert len(names) == len(set(names)), overlay


def test_everything_is_in_the_overlay_s_namespace() -> None:
    """What has a namespace has that of the overlay, which demands restricted pods."""
    for overlay in OVERLAYS:
        (namespace,) = of_kind(rendered(overlay), "Namespace")
        labels = namespace["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
        for resource in rendered(overlay):
            if resource is not namespace:
                assert resource["metadata"]["namespace"] == namespace["metadata"]["name"]
