"""The table of options: one row for each, read by the resolver and the command line.

A row knows its key in a configuration file (`name`), its environment variable, its
flags, the kind of its value and the sentence that explains it. Its default is that
of the field of the same name in `Settings` or `RegistrySettings`.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from enum import Enum, StrEnum

from auditor.config.settings import (
    ImageConfigMode,
    LogLevel,
    Order,
    Progress,
    RegistrySettings,
    Settings,
    Shape,
)
from auditor.config.values import (
    HOST,
    PATH,
    REFERENCE,
    TEXT,
    URL,
    USERNAME,
    VARIABLE,
    Value,
    choice,
    seconds,
    several,
    switch,
    whole,
)

ENVIRONMENT_PREFIX = "AUDITOR_"


class Where(Enum):
    """Where in a configuration file an option may stand."""

    NOWHERE = "nowhere"
    TOP = "top"
    TOP_AND_REGISTRY = "top and registry"  # at the top: for every registry
    REGISTRY = "registry"  # said of one registry only, so neither flag nor variable


class Group(StrEnum):
    """What an option is about: a command takes whole groups. Also a help heading."""

    INPUT = "Input"
    REPORT = "Report"
    RUN = "Run"
    CREDENTIALS = "Credentials"
    NETWORK = "Network"


_DEFAULTS = {
    field.name: None if field.default is MISSING else field.default
    for cls in (RegistrySettings, Settings)
    for field in fields(cls)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option. `flags` are spelled as click declares them: "--yes/--no"."""

    name: str
    value: Value
    help: str
    where: Where
    group: Group
    flags: tuple[str, ...] = ()
    positional: bool = False

    @property
    def default(self) -> object:
        """The value where nobody gives one."""
        return _DEFAULTS.get(self.name)

    @property
    def variable(self) -> str | None:
        """The environment variable; null for what is said of one registry only."""
        if self.where is Where.REGISTRY:
            return None
        return ENVIRONMENT_PREFIX + self.name.upper()

    @property
    def flag(self) -> str:
        """The long flag, as messages name it."""
        if self.positional:
            return self.value.metavar
        return self.flags[-1].partition("/")[0]

    @property
    def metavar(self) -> str:
        """The word that stands for the value in a help text."""
        return self.value.metavar

    @property
    def choices(self) -> tuple[str, ...]:
        """The words to choose from; none where it is no choice."""
        return self.value.choices

    @property
    def is_switch(self) -> bool:
        """Whether its flag takes no value."""
        return self.value.is_switch

    @property
    def multiple(self) -> bool:
        """Whether its flag may stand several times."""
        return self.value.multiple


OPTIONS: tuple[Option, ...] = (
    # -- what is audited -------------------------------------------------------
    Option(
        name="references",
        value=several(REFERENCE),
        help="References and tag patterns to audit.",
        where=Where.TOP,
        group=Group.INPUT,
        positional=True,
    ),
    Option(
        name="lists",
        value=several(PATH),
        help="A list of references: text, JSON lines or CSV; - is standard input.",
        where=Where.TOP,
        group=Group.INPUT,
        flags=("-f", "--list"),
    ),
    Option(
        name="config",
        value=PATH,
        help="A TOML file with settings; flags and AUDITOR_... variables override it.",
        where=Where.NOWHERE,
        group=Group.CREDENTIALS,
        flags=("-c", "--config"),
    ),
    # -- the report ------------------------------------------------------------
    Option(
        name="output",
        value=PATH,
        help="Where the report goes; - is standard output.",
        where=Where.TOP,
        group=Group.REPORT,
        flags=("-o", "--output"),
    ),
    Option(
        name="summary",
        value=PATH,
        help="Write the summary as JSON to this file, too.",
        where=Where.TOP,
        group=Group.REPORT,
        flags=("--summary",),
    ),
    Option(
        name="metrics",
        value=PATH,
        help="Write the run's metrics to this Prometheus textfile, too.",
        where=Where.TOP,
        group=Group.REPORT,
        flags=("--metrics",),
    ),
    Option(
        name="shape",
        value=choice(Shape),
        help="What a line of the report is: an image, a platform or a layer.",
        where=Where.TOP,
        group=Group.REPORT,
        flags=("--shape",),
    ),
    Option(
        name="image_config",
        value=choice(ImageConfigMode),
        help="When to fetch image configs; auto: if the platform is not known without.",
        where=Where.TOP,
        group=Group.REPORT,
        flags=("--image-config",),
    ),
    Option(
        name="order",
        value=choice(Order),
        help="The order of the report's lines.",
        where=Where.TOP,
        group=Group.REPORT,
        flags=("--order",),
    ),
    # -- the run ---------------------------------------------------------------
    Option(
        name="workers",
        # More than a thousand tasks wait for the same few slots of each host.
        value=whole(1, 1024),
        help="How many references of one registry are worked on at once.",
        where=Where.TOP,
        group=Group.RUN,
        flags=("--workers",),
    ),
    Option(
        name="window",
        # A record with hundreds of layers is some 100 KB: 65,536 are 6.5 GB at worst.
        value=whole(1, 65_536),
        help="How many finished records may wait for their turn in input order.",
        where=Where.TOP,
        group=Group.RUN,
        flags=("--window",),
    ),
    Option(
        name="progress",
        value=choice(Progress),
        help="When to show progress on standard error; auto: if that is a terminal.",
        where=Where.TOP,
        group=Group.RUN,
        flags=("--progress",),
    ),
    Option(
        name="log_level",
        value=choice(LogLevel),
        help="The least severe messages to log on standard error.",
        where=Where.TOP,
        group=Group.RUN,
        flags=("--log-level",),
    ),
    # -- credentials -----------------------------------------------------------
    Option(
        name="docker_config",
        value=switch(),
        help="Use the credentials in docker's config.json.",
        where=Where.TOP,
        group=Group.CREDENTIALS,
        flags=("--docker-config/--no-docker-config",),
    ),
    Option(
        name="authfile",
        value=PATH,
        help="The config.json to use instead of docker's own.",
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
    # -- tokens ----------------------------------------------------------------
    Option(
        name="token_url",
        value=URL,
        help="Where to get tokens, instead of where the registry's challenge says.",
        where=Where.REGISTRY,
        group=Group.NETWORK,
    ),
    Option(
        name="service",
        value=TEXT,
        help="The service to ask tokens for, instead of the challenge's.",
        where=Where.REGISTRY,
        group=Group.NETWORK,
    ),
    Option(
        name="realm_hosts",
        value=several(HOST),
        help="Hosts that may ask for the password though their address is local.",
        where=Where.REGISTRY,
        group=Group.NETWORK,
    ),
    Option(
        name="token_keys",
        value=PATH,
        help="Keys that verify tokens: a PEM bundle or a JWKS file.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--keys",),
    ),
    # -- the network -----------------------------------------------------------
    Option(
        name="insecure_http",
        value=switch(),
        help="Talk plain HTTP to the registries.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--plain-http",),
    ),
    Option(
        name="ca_file",
        value=PATH,
        help="CA certificates (PEM) to trust beside the system's.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--ca-file",),
    ),
    Option(
        name="requests_at_once",
        # Beyond a few hundred connections, servers and NAT tables refuse one client.
        value=whole(1, 256),
        help="How many requests one registry is sent at once.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--requests-at-once",),
    ),
    Option(
        name="tries",
        # With delays that double up to 30 s, twenty tries last about eight minutes.
        value=whole(1, 20),
        help="How often a request is tried before it counts as failed.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--tries",),
    ),
    Option(
        name="connect_timeout_s",
        value=seconds(0.1, 600),
        help="How long a connection may take to come about.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--connect-timeout",),
    ),
    Option(
        name="read_timeout_s",
        value=seconds(0.1, 3600),
        help="How long a registry may be silent while it answers.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--read-timeout",),
    ),
    Option(
        name="request_timeout_s",
        value=seconds(0.1, 3600),
        help="How long a whole request may take.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--request-timeout",),
    ),
    Option(
        name="max_manifest_bytes",
        # Enough for any manifest that exists; a run holds `workers` of them at once.
        value=whole(1024, 256 * 1024 * 1024),
        help="The largest manifest or image config that is read.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--max-manifest-bytes",),
    ),
    Option(
        name="page_size",
        # Registries that grant more than 1,000 exist; none is known beyond 10,000.
        value=whole(1, 10_000),
        help="How many names to ask for in one page of a list.",
        where=Where.TOP_AND_REGISTRY,
        group=Group.NETWORK,
        flags=("--page-size",),
    ),
)

BY_NAME: dict[str, Option] = {option.name: option for option in OPTIONS}


def options_of(*groups: Group) -> tuple[Option, ...]:
    """The options of these groups that a command line can give, in table order."""
    return tuple(
        option
        for option in OPTIONS
        if option.group in groups and option.where is not Where.REGISTRY
    )
