"""How many examples a property is tried with.

The number at a property is how many it deserves. `make test` and `make unit` try a
quarter of them, the same ones in each run of the same files (Hypothesis also tries
constants of the modules that are loaded), so that a change fails by its own fault;
`make thorough` tries ten times as many, different ones in each run.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings

# Percent of the number at a property, which is also Hypothesis' default for those
# without a number. How long an example takes is the machine's business.
settings.register_profile("quick", deadline=None, max_examples=25, derandomize=True)
settings.register_profile("thorough", deadline=None, max_examples=1000)

FEWEST = 5


def thorough() -> bool:
    """Whether this is `make thorough`, for tests that have more to try in it."""
    return settings().max_examples >= 1000


def examples(number: int, **more: Any) -> settings:
    """Settings with the profile's part of `number` examples."""
    percent = settings().max_examples
    return settings(max_examples=max(FEWEST, number * percent // 100), **more)
