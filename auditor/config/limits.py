"""The limits of a registry, shared out among runs that ask it at the same time."""

from __future__ import annotations

from dataclasses import replace

from auditor.config.settings import RegistrySettings


def part_of_limits(
    settings: RegistrySettings, *, runs_at_once: int, runs: int
) -> RegistrySettings:
    """What one of so many runs may ask of the registry: of what is counted, its part of
    all `runs`, of which `runs_at_once` ask at the same time. Never less than a request:
    so that a limit holds, no more runs ask than it has requests."""
    if runs == 1:
        return settings
    rate, most = settings.requests_per_second, settings.max_requests
    return replace(
        settings,
        requests_at_once=max(1, settings.requests_at_once // runs_at_once),
        requests_per_second=None if rate is None else rate / runs_at_once,
        max_requests=None if most is None else max(1, most // runs),
    )
