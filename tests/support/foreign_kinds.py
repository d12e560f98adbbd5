"""Resources of the kinds that cert-manager and the Prometheus operator bring, held against them."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Final

from tests.support.manifests import Resource

# Made from their CustomResourceDefinitions. Megabytes of them: neither mypy nor a test of other
# things has to read that.
MODELS: Final = {
    "cert-manager.io/v1": "cloudcoil.models.cert_manager.v1",
    "monitoring.coreos.com/v1": "cloudcoil.models.prometheus_operator.v1",
}


def check_foreign(resource: Resource) -> None:
    """ValueError unless it is what its CustomResourceDefinition takes, without unknown fields."""
    model = getattr(_models(resource["apiVersion"]), resource["kind"])
    # The library's models pass over unknown fields, and take Python's names for known ones.
    model.model_validate(resource, strict=True, extra="forbid", by_alias=True, by_name=False)


@cache
def _models(version: str) -> ModuleType:
    return import_module(MODELS[version])
