from __future__ import annotations

import copy
import pickle

import pytest

from auditor.util.secret import Secret


@pytest.mark.parametrize(
    "shown",
    [
        repr(Secret("hunter2")),
        str(Secret("hunter2")),
        f"{Secret('hunter2')}",
        f"{Secret('hunter2')!r:>20}",
        f"{Secret('hunter2'):>20}",
        "%s" % Secret("hunter2"),  # noqa: UP031 - logging formats like this
        repr([Secret("hunter2")]),
    ],
)
def test_no_way_of_formatting_shows_the_text(shown: str) -> None:
    assert "hunter2" not in shown
    assert "***" in shown


def test_the_mask_does_not_depend_on_the_length() -> None:
    assert repr(Secret("a")) == repr(Secret("a" * 99))


def test_reveal_returns_the_text() -> None:
    assert Secret("hunter2").reveal() == "hunter2"


def test_equal_by_value_and_not_equal_to_its_text() -> None:
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"


@pytest.mark.parametrize(("text", "truth"), [("", False), (" ", True), ("x", True)])
def test_true_unless_empty(text: str, truth: bool) -> None:
    assert bool(Secret(text)) is truth


def test_cannot_be_pickled() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret("hunter2"))


def test_copies_are_the_same_secret() -> None:
    secret = Secret("hunter2")
    assert copy.copy(secret) is secret
    assert copy.deepcopy([secret])[0] is secret
