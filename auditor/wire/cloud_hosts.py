"""Which registries belong to a cloud: only they may get a login of the machine.

Tools that log in to every host with "amazonaws.com" or "azurecr.io" somewhere in its
name have sent the credentials of their machine to strangers. The rules here are those
of the clouds' documentation, and match whole names:

- Amazon ECR, "Private registry": `ACCOUNT.dkr.ecr.REGION.amazonaws.com`, with the
  suffix of the region's partition; `dkr.ecr-fips` for FIPS; `dkr-ecr` and
  `dkr-ecr-fips` below `on.aws` for IPv6 ("Amazon ECR endpoints"). `public.ecr.aws` is
  the public one.
- Google, "Repository names": `LOCATION-docker.pkg.dev`, `gcr.io`, `*.gcr.io`.
- Azure Container Registry: `NAME.azurecr.io`, and the suffixes of Azure China
  (`.azurecr.cn`) and Azure Government (`.azurecr.us`); regional endpoints are
  `NAME.REGION.geo.azurecr.io`.

All of them are https on the default port.
"""

from __future__ import annotations

from enum import StrEnum

from auditor.errors import FailureKind, ProtocolError
from auditor.fast_dataclass import dataclass
from auditor.util.lazy_regex import LazyPattern
from auditor.wire.url_policy import check_url, origin_of

ECR_PUBLIC_HOST = "public.ecr.aws"

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
# The suffix of each partition, and how its regions begin. Suffixes without a known
# beginning belong to partitions with one kind of region only.
_ECR = LazyPattern(
    r"(?P<account>[0-9]{12})\.dkr(?:"
    r"\.ecr(?P<fips>-fips)?\.(?P<region>[a-z]{2,5}(?:-[a-z]+)+-[0-9]{1,2})\."
    r"(?P<suffix>amazonaws\.com|amazonaws\.com\.cn|amazonaws\.eu|c2s\.ic\.gov"
    r"|sc2s\.sgov\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)"
    r"|-ecr(?P<fips6>-fips)?\.(?P<region6>[a-z]{2,5}(?:-[a-z]+)+-[0-9]{1,2})\."
    r"(?P<suffix6>on\.aws|on\.amazonwebservices\.com\.cn)"
    r")"
)
_CHINA_SUFFIXES = frozenset({"amazonaws.com.cn", "on.amazonwebservices.com.cn"})
_GOOGLE = LazyPattern(rf"gcr\.io|{_LABEL}\.gcr\.io|[a-z0-9-]{{1,55}}-docker\.pkg\.dev")
_AZURE = LazyPattern(
    rf"{_LABEL}(?:\.{_LABEL}\.geo)?\.azurecr\.(?P<suffix>io|cn|us)",
)


class Cloud(StrEnum):
    """A cloud whose registries auditor can log in to; also the extra's name."""

    AWS = "aws"
    GOOGLE = "google"
    AZURE = "azure"

    @property
    def display_name(self) -> str:
        """The name in messages."""
        return _TITLES[self]


_TITLES = {Cloud.AWS: "AWS", Cloud.GOOGLE: "Google", Cloud.AZURE: "Azure"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudHost:
    """A registry of a cloud, as its host name says.

    For ECR: `account` and `region` of a private registry, `is_fips` and `is_dual_stack`
    for the endpoints that its name asks for. `suffix` is the last label of Azure's.
    """

    cloud: Cloud
    host: str
    account: str | None = None
    region: str | None = None
    is_fips: bool = False
    is_dual_stack: bool = False
    suffix: str | None = None

    @property
    def is_public(self) -> bool:
        """Whether everybody may pull everything: a login only raises limits."""
        return self.host == ECR_PUBLIC_HOST


def cloud_host(registry: str) -> CloudHost | None:
    """The cloud of a registry's host name, None for every other text.

    A name with a port is not a cloud's. Letters of any case are the same (RFC 4343),
    but only ASCII letters: other characters can look like them.
    """
    if not registry.isascii():
        return None
    host = registry.lower()
    if host == ECR_PUBLIC_HOST:
        # Its only region ("Public registry authentication").
        return CloudHost(cloud=Cloud.AWS, host=host, region="us-east-1")
    if (match := _ECR.fullmatch(host)) is not None:
        region = match["region"] or match["region6"]
        suffix = match["suffix"] or match["suffix6"]
        if region.startswith("cn-") is not (suffix in _CHINA_SUFFIXES):
            return None
        return CloudHost(
            cloud=Cloud.AWS,
            host=host,
            account=match["account"],
            region=region,
            is_fips=bool(match["fips"] or match["fips6"]),
            is_dual_stack=match["region6"] is not None,
        )
    if _GOOGLE.fullmatch(host):
        return CloudHost(cloud=Cloud.GOOGLE, host=host)
    if (match := _AZURE.fullmatch(host)) is not None:
        return CloudHost(cloud=Cloud.AZURE, host=host, suffix=match["suffix"])
    return None


def cloud_of_url(url: str) -> CloudHost | None:
    """The cloud that a URL leads to: https, the default port, no user."""
    try:
        check_url(url, kind=FailureKind.REALM_REFUSED)
        origin = origin_of(url)
    except ProtocolError:
        return None
    if origin.scheme != "https" or origin.port != 443:
        return None
    return cloud_host(origin.host)
