"""What to do about a package that only some commands need, and that is missing."""

from __future__ import annotations


def how_to_install(package: str) -> str:
    """The command that installs a package of PyPI beside auditor."""
    return (
        f"pip install {package} in auditor's environment"
        f" (pipx: pipx inject manifest-auditor {package})"
    )
