"""The login of one registry: where its configuration says that it is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from auditor.config.validation_errors import Mistakes, Place
from auditor.fast_dataclass import dataclass
from auditor.util.secret import Secret
from auditor.wire.login import Credential, is_password_of, is_username

# Keys of a section that name an environment variable.
VARIABLE_KEYS = ("username_env", "password_env")
LOGIN_KEYS = ("username", *VARIABLE_KEYS, "password_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginReader:
    """Reads logins out of the environment and out of files.

    `read_file` gives the text of a file, or raises `OSError` or `UnicodeDecodeError`.
    """

    environment: Mapping[str, str]
    read_file: Callable[[str], str]
    mistakes: Mistakes

    def read(self, values: Mapping[str, object], place: Place) -> Credential | None:
        """Read the credential of a section.

        None where it names none, and where it is wrong, which is noted.
        """
        keys = {key: str(values[key]) for key in LOGIN_KEYS if key in values}
        if not keys:
            return None
        username = self._username(keys, place)
        password = self._password(keys, place, username)
        if username is None or password is None:
            return None
        return Credential(username=username, password=Secret(password))

    def _username(self, keys: Mapping[str, str], place: Place) -> str | None:
        here = place.at("username_env")
        match keys:
            case {"username": _, "username_env": _}:
                self.mistakes.add(here, "username is given, too; one is enough")
            case {"username": username}:
                return username
            case {"username_env": variable}:
                text = self._variable(variable, here)
                if text is None or is_username(text):
                    return text
                self.mistakes.add(
                    here, f"{variable} holds a colon or a control character"
                )
            case _:
                self.mistakes.add(place, "a password without username or username_env")
        return None

    def _password(
        self, keys: Mapping[str, str], place: Place, username: str | None
    ) -> str | None:
        here, text = place, None
        match keys:
            case {"password_env": _, "password_file": _}:
                here = place.at("password_file")
                self.mistakes.add(here, "password_env is given, too; one is enough")
            case {"password_env": variable}:
                here = place.at("password_env")
                text = self._variable(variable, here)
            case {"password_file": path}:
                here = place.at("password_file")
                text = self._file(path, here)
            case _:
                self.mistakes.add(
                    place, "a username without password_env or password_file"
                )
        if text is None or is_password_of(username or "", text):
            return text
        self.mistakes.add(here, "the password holds a control or line break character")
        return None

    def _variable(self, name: str, place: Place) -> str | None:
        text = self.environment.get(name)
        if text:
            return text
        state = "not set" if text is None else "empty"
        self.mistakes.add(place, f"the environment variable {name} is {state}")
        return None

    def _file(self, path: str, place: Place) -> str | None:
        try:
            # Editors end a file with a line break, which is no part of a password.
            text = self.read_file(path).removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            self.mistakes.add(place, f"{path} is not UTF-8 text")
            return None
        except OSError as error:
            reason = error.strerror or error
            self.mistakes.add(place, f"{path} cannot be read: {reason}")
            return None
        if not text:
            self.mistakes.add(place, f"{path} is empty")
            return None
        return text
