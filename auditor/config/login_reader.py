"""Reads the login of a registry from the places that its section names.

A configuration file never holds a password: `password_env` names an environment
variable and `password_file` a file that does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from auditor.config.validation_errors import KeyLocation, ValidationErrors
from auditor.fast_dataclass import dataclass
from auditor.util.secret import Secret
from auditor.wire.credential import Login, is_password_of, is_username

# Keys of a section that name an environment variable.
VARIABLE_KEYS = ("username_env", "password_env")
LOGIN_KEYS = ("username", *VARIABLE_KEYS, "password_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginReader:
    """Reads logins from the environment and from files.

    `read_file` returns the text of a file, or raises `OSError` or `UnicodeDecodeError`.
    """

    environment: Mapping[str, str]
    read_file: Callable[[str], str]
    errors: ValidationErrors

    def read(self, values: Mapping[str, object], location: KeyLocation) -> Login | None:
        """The login of a section; None if it has none, or an invalid one.

        An invalid one is added to the errors.
        """
        keys = {key: str(values[key]) for key in LOGIN_KEYS if key in values}
        if not keys:
            return None
        username = self._username(keys, location)
        password = self._password(keys, location, username)
        if username is None or password is None:
            return None
        return Login(username=username, password=Secret(password))

    def _username(self, keys: Mapping[str, str], location: KeyLocation) -> str | None:
        here = location.at("username_env")
        match keys:
            case {"username": _, "username_env": _}:
                self.errors.add(here, "username is set, too; remove one of them")
            case {"username": username}:
                return username
            case {"username_env": variable}:
                text = self._variable(variable, here)
                if text is None or is_username(text):
                    return text
                self.errors.add(
                    here, f"{variable} contains a colon or a control character"
                )
            case _:
                self.errors.add(
                    location, "a password without a user; add username or username_env"
                )
        return None

    def _password(
        self, keys: Mapping[str, str], location: KeyLocation, username: str | None
    ) -> str | None:
        here, text = location, None
        match keys:
            case {"password_env": _, "password_file": _}:
                here = location.at("password_file")
                self.errors.add(here, "password_env is set, too; remove one of them")
            case {"password_env": variable}:
                here = location.at("password_env")
                text = self._variable(variable, here)
            case {"password_file": path}:
                here = location.at("password_file")
                text = self._file(path, here)
            case _:
                self.errors.add(
                    location,
                    "a user without a password; add password_env or password_file",
                )
        if text is None or is_password_of(username or "", text):
            return text
        self.errors.add(
            here, "the password contains a control character or a line break"
        )
        return None

    def _variable(self, name: str, location: KeyLocation) -> str | None:
        text = self.environment.get(name)
        if text:
            return text
        state = "not set" if text is None else "empty"
        self.errors.add(location, f"the environment variable {name} is {state}")
        return None

    def _file(self, path: str, location: KeyLocation) -> str | None:
        try:
            # Editors end a file with a line break, which is not part of the password.
            text = self.read_file(path).removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            self.errors.add(location, f"{path} is not UTF-8 text")
            return None
        except OSError as error:
            reason = error.strerror or error
            self.errors.add(location, f"{path} cannot be read: {reason}")
            return None
        if not text:
            self.errors.add(location, f"{path} is empty")
            return None
        return text
