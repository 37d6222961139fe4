"""What a cloud's library gives: a token for the identity of this machine."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from auditor.errors import FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.util.secret import Secret, mask_secrets
from auditor.util.tasks import call_in_thread
from auditor.util.text import how_to_install, safe_text
from auditor.wire.cloud_hosts import Cloud

Library = TypeVar("Library")
Result = TypeVar("Result")

# Characters of a library's message: a sentence, not its whole explanation.
_MESSAGE_CHARS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineToken:
    """A token, the identity that it is for, and when it expires (seconds since 1970).

    `expires_at` is None if the library does not say it. `identity` is an ARN, an e-mail
    address or a client id; None if the cloud does not say it. `method` is how the
    library found it, in its own words.
    """

    secret: Secret
    expires_at: float | None
    username: str = ""
    identity: str | None = None
    method: str | None = None

    @property
    def description(self) -> str:
        """`ARN (method)`, in messages."""
        words = [self.identity or "of unknown name"]
        if self.method:
            words.append(f"({self.method})")
        return " ".join(words)


class NoIdentityError(Exception):
    """A cloud's service on this machine has no identity for it; the text says why."""


# What the extras aws, google and azure of pyproject.toml install.
_PACKAGES = {
    Cloud.AWS: "boto3",
    Cloud.GOOGLE: "google-auth requests",
    Cloud.AZURE: "azure-identity",
}


class MissingExtraError(Exception):
    """A cloud's library is not installed."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(
            f"the library of {cloud.display_name} is not installed:"
            f" {how_to_install(_PACKAGES[cloud])}"
        )


def import_library(cloud: Cloud, load: Callable[[], Library]) -> Library:
    """What `load` imports. Raises `MissingExtraError`."""
    try:
        return load()
    except ImportError:
        raise MissingExtraError(cloud) from None


def identity_error(
    sentence: str, reason: object = None, kind: FailureKind = FailureKind.DENIED
) -> ProtocolError:
    """The error of an identity that cannot be used; `reason` is the library's."""
    text = "" if reason is None else re.sub(r"\s+", " ", mask_secrets(str(reason)))
    if text := text.strip(" ."):
        sentence += f": {safe_text(text, _MESSAGE_CHARS)}"
    return ProtocolError(sentence, kind)


async def call_library(
    cloud: Cloud, call: Callable[[], Result], *, timeout_s: float
) -> Result:
    """The result of `call`, which uses a cloud's library, in a thread.

    Raises `ProtocolError`, whatever the library raises: for a token file that is
    missing or settings that make no sense, these are the exceptions of Python. Raises
    `MissingExtraError` and `NoIdentityError`, and `TimeoutError` after `timeout_s`.
    """

    def checked() -> Result:
        try:
            return call()
        except (ProtocolError, MissingExtraError, NoIdentityError):
            raise
        except OSError as error:
            reason = f"{error.strerror or error}"
            if error.filename is not None:
                reason += f": {error.filename}"
        except ValueError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001  (another library's)
            reason = f"{type(error).__name__}: {error}"
        raise identity_error(
            f"the {cloud.display_name} identity cannot be used", reason
        )

    return await call_in_thread(checked, timeout_s=timeout_s)
