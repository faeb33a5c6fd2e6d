"""The pure layers: nothing here touches the system."""

from hypothesis import HealthCheck, settings

CALM = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
"""For properties: a busy machine is no reason to fail."""
