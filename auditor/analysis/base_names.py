"""Names of base images as SQL expressions.

Builders write the name as a Dockerfile has it: `debian:12`, `team/app`. References of a
report have it in full, as `auditor.oci.reference` reads it.
"""

from __future__ import annotations

from auditor.oci.reference import DOCKER_HUB

# The first component is a host if it has a dot or a colon or is `localhost`.
_HAS_HOST = (
    "contains({name}, '/') AND (contains(split_part({name}, '/', 1), '.')"
    " OR contains(split_part({name}, '/', 1), ':')"
    " OR split_part({name}, '/', 1) = 'localhost')"
)
_HUB_HOSTS = r"^(index\.docker\.io|registry-1\.docker\.io|registry\.hub\.docker\.com)/"


def canonical_base(name: str) -> str:
    """The canonical text of a base's name, with `latest` if it has no tag.

    NULL for NULL. A name that is not a reference gets some text, which no reference of
    a report equals.
    """
    with_host = f"""
        CASE WHEN {_HAS_HOST.format(name=name)}
             THEN regexp_replace({name}, '{_HUB_HOSTS}', '{DOCKER_HUB}/')
             ELSE '{DOCKER_HUB}/' || {name} END"""
    # `full` and `library` are variables of these lists of one value each.
    library = f"""
        CASE WHEN regexp_full_match(_full, '{DOCKER_HUB}/[^/]+')
             THEN '{DOCKER_HUB}/library/' || substr(_full, {len(DOCKER_HUB) + 2})
             ELSE _full END"""
    tagged = """
        CASE WHEN contains(_library, '@') THEN _library
             WHEN regexp_matches(_library, ':[^/]*$') THEN _library
             ELSE _library || ':latest' END"""
    return f"""
        CASE WHEN {name} IS NOT NULL THEN
          [{tagged} FOR _library IN [{library} FOR _full IN [{with_host}]]][1] END"""
