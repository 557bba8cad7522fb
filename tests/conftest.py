"""Settings for all tests."""

from hypothesis import HealthCheck, settings

settings.register_profile("shared cores", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("shared cores")
