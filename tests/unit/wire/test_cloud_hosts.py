"""The registries that may get a login of the machine: whole names of the clouds."""

from __future__ import annotations

import pytest

from auditor.wire.cloud_hosts import Cloud, CloudHost, cloud_host, cloud_of_url

ECR = "123456789012.dkr.ecr.us-east-1.amazonaws.com"


def aws(
    account: str | None, region: str, *, fips: bool = False, v6: bool = False
) -> tuple[object, ...]:
    return Cloud.AWS, account, region, fips, v6


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (ECR, aws("123456789012", "us-east-1")),
        (ECR.upper(), aws("123456789012", "us-east-1")),
        (
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
            aws("123456789012", "cn-north-1"),
        ),
        (
            "123456789012.dkr.ecr.us-gov-west-1.amazonaws.com",
            aws("123456789012", "us-gov-west-1"),
        ),
        (
            "123456789012.dkr.ecr-fips.us-gov-east-1.amazonaws.com",
            aws("123456789012", "us-gov-east-1", fips=True),
        ),
        (
            "123456789012.dkr-ecr.eu-central-2.on.aws",
            aws("123456789012", "eu-central-2", v6=True),
        ),
        (
            "123456789012.dkr-ecr-fips.us-west-2.on.aws",
            aws("123456789012", "us-west-2", fips=True, v6=True),
        ),
        (
            "123456789012.dkr-ecr.cn-northwest-1.on.amazonwebservices.com.cn",
            aws("123456789012", "cn-northwest-1", v6=True),
        ),
        (
            "123456789012.dkr.ecr.us-iso-east-1.c2s.ic.gov",
            aws("123456789012", "us-iso-east-1"),
        ),
        (
            "123456789012.dkr.ecr.eusc-de-east-1.amazonaws.eu",
            aws("123456789012", "eusc-de-east-1"),
        ),
        ("public.ecr.aws", aws(None, "us-east-1")),
    ],
)
def test_hosts_of_ecr_name_account_region_and_endpoint(
    host: str, expected: tuple[object, ...]
) -> None:
    found = cloud_host(host)
    assert found is not None
    assert (
        found.cloud,
        found.account,
        found.region,
        found.is_fips,
        found.is_dual_stack,
    ) == expected


@pytest.mark.parametrize(
    ("host", "cloud", "suffix"),
    [
        ("gcr.io", Cloud.GOOGLE, None),
        ("eu.gcr.io", Cloud.GOOGLE, None),
        ("mirror.gcr.io", Cloud.GOOGLE, None),
        ("europe-west1-docker.pkg.dev", Cloud.GOOGLE, None),
        ("us-docker.pkg.dev", Cloud.GOOGLE, None),
        ("company.azurecr.io", Cloud.AZURE, "io"),
        ("Company.AzureCR.io", Cloud.AZURE, "io"),
        ("company-a1b2c3.azurecr.io", Cloud.AZURE, "io"),
        ("company.westeurope.geo.azurecr.io", Cloud.AZURE, "io"),
        ("company.azurecr.cn", Cloud.AZURE, "cn"),
        ("company.azurecr.us", Cloud.AZURE, "us"),
    ],
)
def test_hosts_of_google_and_azure(host: str, cloud: Cloud, suffix: str | None) -> None:
    assert cloud_host(host) == CloudHost(cloud=cloud, host=host.lower(), suffix=suffix)


HOSTILE = [
    "",
    ".",
    "registry.example.com",
    "docker.io",
    # the name continues
    f"{ECR}.evil.example.com",
    f"{ECR}.evil",
    f"{ECR}.",
    f"{ECR}.cn.evil.example",
    "company.azurecr.io.evil.example.com",
    "gcr.io.evil.example.com",
    "us-docker.pkg.dev.evil.example.com",
    "public.ecr.aws.evil.example.com",
    # or begins earlier, without a dot
    "evilazurecr.io",
    "azurecr.io",
    ".azurecr.io",
    "evilgcr.io",
    ".gcr.io",
    "a.b.gcr.io",
    "evilpkg.dev",
    "pkg.dev",
    "docker.pkg.dev",
    "us-maven.pkg.dev",
    "-docker.pkg.dev",
    "evil.us-docker.pkg.dev",
    "xpublic.ecr.aws",
    "x.public.ecr.aws",
    "ecr.aws",
    # other names of the cloud, where customers put their own servers
    "bucket.s3.us-east-1.amazonaws.com",
    "ec2-203-0-113-7.compute-1.amazonaws.com",
    "lb-1.elb.us-east-1.amazonaws.com",
    "123456789012.dkr.ecr.elb.us-east-1.amazonaws.com",
    "company.blob.core.windows.net",
    "company.westeurope.data.azurecr.io",
    "app.run.app",
    # nearly the form of ECR
    "12345678901.dkr.ecr.us-east-1.amazonaws.com",
    "1234567890123.dkr.ecr.us-east-1.amazonaws.com",
    "evil.123456789012.dkr.ecr.us-east-1.amazonaws.com",
    "123456789012-dkr.ecr.us-east-1.amazonaws.com",
    "123456789012.dkr.ecr..amazonaws.com",
    "123456789012.dkr.ecr.us-east-1.evil.amazonaws.com",
    "123456789012.dkr.ecr.us-east-1amazonaws.com",
    "123456789012.dkr.ecr.us-east-1.amazonaws.org",
    "123456789012.dkr-ecr.us-east-1.amazonaws.com",
    "123456789012.dkr.ecr.us-east-1.on.aws",
    # the partition of another region
    "123456789012.dkr.ecr.us-east-1.amazonaws.com.cn",
    "123456789012.dkr.ecr.cn-north-1.amazonaws.com",
    # ports, users, paths, blanks
    f"{ECR}:443",
    f"{ECR}:8443",
    f"{ECR}@evil.example.com",
    f"evil.example.com@{ECR}",
    f"evil.example.com#{ECR}",
    f"evil.example.com/{ECR}",
    f"{ECR}/",
    f" {ECR}",
    f"{ECR}\n",
    "company.azurecr.io\n",
    "gcr.io\n",
    "gcr.io:443",
    "company.azurecr.io:5000",
    # letters that only look the same: Kelvin sign, Cyrillic, full width, IDN
    "123456789012.d\N{KELVIN SIGN}r.ecr.us-east-1.amazonaws.com",
    "company.\N{CYRILLIC SMALL LETTER A}zurecr.io",
    "gcr\N{IDEOGRAPHIC FULL STOP}io",
    "xn--gr-jna.io",
    "company.xn--zurecr-2nf.io",
    "\N{FULLWIDTH DIGIT ONE}23456789012.dkr.ecr.us-east-1.amazonaws.com",
    "٣23456789012.dkr.ecr.us-east-1.amazonaws.com",
]


@pytest.mark.parametrize("host", HOSTILE)
def test_no_other_name_is_a_cloud_s(host: str) -> None:
    assert cloud_host(host) is None
    # In a URL, the default port and a slash after the host are nothing special.
    if host not in {f"{ECR}:443", "gcr.io:443", f"{ECR}/"}:
        assert cloud_of_url(f"https://{host}/token") is None


@pytest.mark.parametrize(
    "url",
    [
        f"https://{ECR}/token",
        "https://us-docker.pkg.dev/v2/token",
        "https://company.azurecr.io/oauth2/token?x=1",
        "HTTPS://company.azurecr.io:443/oauth2/token",
    ],
)
def test_a_realm_of_the_cloud_is_https_at_its_host(url: str) -> None:
    assert cloud_of_url(url) is not None


@pytest.mark.parametrize(
    "url",
    [
        "http://company.azurecr.io/oauth2/token",
        "https://company.azurecr.io:8443/oauth2/token",
        "https://company.azurecr.io@evil.example.com/token",
        "https://evil.example.com@company.azurecr.io/token",
        "https://evil.example.com/?company.azurecr.io",
        "https://evil.example.com\\.azurecr.io/token",
        "//company.azurecr.io/token",
        "company.azurecr.io/token",
        "ftp://company.azurecr.io/",
        "https://169.254.169.254/",
        "",
    ],
)
def test_another_realm_is_not_the_cloud_s(url: str) -> None:
    assert cloud_of_url(url) is None
