from __future__ import annotations

from auditor.util.missing_package import how_to_install


def test_the_package_is_installed_from_where_it_is_published() -> None:
    """auditor itself may not be, or from somewhere else: its extras are not named."""
    advice = how_to_install("apprise")
    assert advice == (
        "pip install apprise in auditor's environment"
        " (pipx: pipx inject manifest-auditor apprise)"
    )
