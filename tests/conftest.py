"""Settings of all tests."""

from hypothesis import settings

# Machines that run the tests are shared and slow at times: a deadline would fail for their sake.
settings.register_profile("cpnet", deadline=None, max_examples=50)
settings.load_profile("cpnet")
