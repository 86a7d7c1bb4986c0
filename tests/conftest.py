"""Property tests judge results, not the load of the machine: no deadline for a single example."""

from hypothesis import settings

settings.register_profile("apportion", deadline=None)
settings.load_profile("apportion")
