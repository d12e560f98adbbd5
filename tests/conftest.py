"""Settings of every test."""

from __future__ import annotations

from hypothesis import settings

# A slow machine is no failure: speed is measured in bench/.
settings.register_profile("default", deadline=None)
settings.load_profile("default")
