"""Settings of the suite: property tests have no deadline, since shared machines are slow at times."""

from hypothesis import HealthCheck, settings

settings.register_profile("s4-format", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("s4-format")
