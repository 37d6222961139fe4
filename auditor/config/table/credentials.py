"""Whom the registries see."""

from __future__ import annotations

from auditor.config.option import Group, Option, Where
from auditor.config.values import switch
from auditor.config.values.texts import PATH, USERNAME, VARIABLE

CREDENTIALS: tuple[Option, ...] = (
    Option(
        name="docker_config",
        value=switch(),
        help="Use the credentials and certs.d folders of docker, podman and skopeo.",
        where=Where.TOP,
        group=Group.CREDENTIALS,
        flags=("--docker-config/--no-docker-config",),
    ),
    Option(
        name="authfile",
        value=PATH,
        help="The config.json or auth.json to use instead of theirs.",
        where=Where.TOP,
        group=Group.CREDENTIALS,
        flags=("--authfile",),
    ),
    Option(
        name="username",
        value=USERNAME,
        help="The user to log in as.",
        where=Where.REGISTRY,
        group=Group.CREDENTIALS,
    ),
    Option(
        name="username_env",
        value=VARIABLE,
        help="The environment variable that holds the user to log in as.",
        where=Where.REGISTRY,
        group=Group.CREDENTIALS,
    ),
    Option(
        name="password_env",
        value=VARIABLE,
        help="The environment variable that holds the password.",
        where=Where.REGISTRY,
        group=Group.CREDENTIALS,
    ),
    Option(
        name="password_file",
        value=PATH,
        help="The file that holds the password and nothing else.",
        where=Where.REGISTRY,
        group=Group.CREDENTIALS,
    ),
)
