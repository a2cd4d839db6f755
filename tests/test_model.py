"""The machine of `tests/model`, a short run: stores do what the model of plain lists and dicts does."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from model.machine import Stores

TestStores = Stores.TestCase
TestStores.settings = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
