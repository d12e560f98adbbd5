"""How long certificates are good, as primary and secondaries show it."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client.core import GaugeMetricFamily


def days_metric(days_left: Mapping[str, float]) -> GaugeMetricFamily:
    """`smtpnic_certificate_expires_days`, by which certificate it is."""
    found = GaugeMetricFamily(
        "smtpnic_certificate_expires_days",
        "Days until a certificate ends; negative afterwards.",
        labels=["certificate"],
    )
    for certificate, days in days_left.items():
        found.add_metric([certificate], days)
    return found
