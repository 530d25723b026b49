"""What all tests share: hypothesis without a clock, since a slow machine is no bug."""

from hypothesis import settings

settings.register_profile("house", deadline=None)
settings.load_profile("house")
