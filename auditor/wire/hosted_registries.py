"""Public registries that many people share, and the limits that they publish.

An audit with the default settings sends each of them at most `HOSTED_MOST` requests at
once. So it does with hosted registries of one owner whose published limit allows no
more. `HOSTED_REGISTRIES` is the one table of these registries, with its sources.
"""

from __future__ import annotations

from auditor.fast_dataclass import dataclass

# Docker Engine downloads three layers at once, containerd the same; browsers open six
# connections to a host. At 50 ms per response, eight at once are 160 requests a second.
HOSTED_MOST = 8


@dataclass(frozen=True, slots=True)
class HostedRegistry:
    """A public registry: `hosts` are names, `*.` stands for any name before a suffix.

    `published` is the limit that `source` states; None: it states none.
    """

    name: str
    hosts: tuple[str, ...]
    published: str | None
    source: str


HOSTED_REGISTRIES = (
    HostedRegistry(
        "Docker Hub",
        ("docker.io", "registry-1.docker.io", "index.docker.io"),
        "thousands of requests a minute for each IPv4 address or IPv6 /64 network,"
        " besides the limit of pulls",
        "https://docs.docker.com/docker-hub/usage/",
    ),
    HostedRegistry(
        "GitHub Container Registry",
        ("ghcr.io",),
        None,  # its 429 says "allowed: 2000/minute" or more
        "https://github.com/github/docs/issues/24504",
    ),
    HostedRegistry(
        "Quay.io",
        ("quay.io",),
        "a few requests a second for each address and endpoint, with bursts",
        "https://access.redhat.com/solutions/6218921",
    ),
    HostedRegistry(
        "Amazon ECR Public",
        ("public.ecr.aws",),
        "quotas of requests and image pulls a second, by account or address",
        "https://docs.aws.amazon.com/AmazonECR/latest/public/public-service-quotas.html",
    ),
    HostedRegistry(
        "GitLab.com",
        ("registry.gitlab.com",),
        "500 requests a minute for each address without a login, 2,000 for a user",
        "https://about.gitlab.com/blog/2020/12/17/"
        "automation-check-in-and-rate-limit-changes-on-gitlab-dot-com/",
    ),
    HostedRegistry(
        "Google Container Registry",
        ("gcr.io", "*.gcr.io"),
        "50,000 requests in ten minutes for each address",
        "https://cloud.google.com/container-registry/quotas",
    ),
    HostedRegistry(
        "Google Artifact Registry",
        ("*-docker.pkg.dev",),
        "60,000 requests a minute for each project and region",
        "https://cloud.google.com/artifact-registry/quotas",
    ),
    HostedRegistry(
        "Azure Container Registry",  # 8 at once, 50 ms away, are 9,600 a minute
        ("*.azurecr.io", "*.azurecr.cn", "*.azurecr.us"),
        "1,000 to 10,000 reads a minute for each registry, by its tier",
        "https://learn.microsoft.com/en-us/azure/container-registry/"
        "container-registry-skus",
    ),
    HostedRegistry(
        "Microsoft Artifact Registry",
        ("mcr.microsoft.com",),
        None,
        "https://github.com/microsoft/containerregistry",
    ),
    HostedRegistry(
        "Kubernetes",
        ("registry.k8s.io",),
        None,  # it redirects to registries of Google and Amazon, which have limits
        "https://github.com/kubernetes/registry.k8s.io",
    ),
)


def hosted_registry(registry: str) -> HostedRegistry | None:
    """The hosted registry of that name; None for any other registry."""
    host = registry.partition(":")[0].lower()
    for one in HOSTED_REGISTRIES:
        for name in one.hosts:
            is_suffix = name.startswith("*")
            if host.endswith(name[1:]) if is_suffix else host == name:
                return one
    return None
