"""The questions of `auditor query --examples`.

A test runs each one, and holds them equal to those of docs/guide/query.md.
"""

from __future__ import annotations

from auditor.fast_dataclass import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryExample:
    """A question, its SQL, and what the audit must have recorded for an answer.

    `options` of `query` follow the report, such as the SBOM file.
    """

    question: str
    sql: str
    needs: str | None = None
    options: str = ""


EXAMPLES = (
    QueryExample(
        question="The repositories with most tags",
        sql="""\
  select repository, count(*) as tags
  from images group by all order by tags desc limit 10""",
    ),
    QueryExample(
        question="Images without arm64",
        sql="""\
  select repository, tag from images
  where content = 'image' and not list_contains(architectures, 'linux/arm64')""",
    ),
    QueryExample(
        question="The largest images",
        sql="""\
  select reference, formatReadableDecimalSize(size) as size from images
  where content = 'image' order by images.size desc nulls last limit 20""",
    ),
    QueryExample(
        question="Images that were built more than a year before the audit",
        needs="audit --image-config always",
        sql="""\
  select reference, platform, created from platforms
  where content = 'image' and created < audited_at - interval 1 year
  order by created""",
    ),
    QueryExample(
        question="Tags that nobody has pulled or pushed for half a year",
        sql="""\
  select reference, pushed_at, pulled_at from images
  where greatest(pushed_at, pulled_at) < audited_at - interval 180 days
  order by greatest(pushed_at, pulled_at)""",
        needs="audit 'HOST/**:*' with the lister of Harbor, Docker Hub, ECR or Nexus",
    ),
    QueryExample(
        question="Manifests without a tag that nothing needs, the largest first",
        needs="audit 'HOST/**:*' --untagged, where the product lists them",
        sql="""\
  select reference, formatReadableDecimalSize(size) as size, pushed_at from untagged
  where unused order by untagged.size desc nulls last limit 20""",
    ),
    QueryExample(
        question="Images in the old format, schema 1, that containerd 2 cannot pull",
        sql="""\
  select reference from images where schema_version = 1""",
    ),
    QueryExample(
        question="Bytes stored by each repository, each layer once",
        sql="""\
  select repository, count(*) as layers, sum(size) as bytes
  from (select distinct repository, digest, size from layers)
  group by repository order by bytes desc limit 20""",
    ),
    QueryExample(
        question="Tags that are the same image",
        sql="""\
  select repository, digest, string_agg(tag, ' ' order by tag) as tags
  from images group by all having count(*) > 1""",
    ),
    QueryExample(
        question="Tags that are the only name of their image",
        sql="""\
  select registry, repository, min(tag) as only_tag, digest
  from images where content = 'image' and tag is not null
  group by all having count(*) = 1 order by repository, only_tag""",
    ),
    QueryExample(
        question="Failures by kind, with an example",
        sql="""\
  select failure, count(*) as n, any_value(reference) as example
  from failures group by all order by n desc""",
    ),
    QueryExample(
        question="Warnings by code, with an example",
        sql="""\
  select code, count(*) as n, any_value(reference) as example,
         any_value(detail) as detail
  from warnings group by all order by n desc""",
    ),
    QueryExample(
        question="Images without an SBOM or a signature (null is unknown)",
        needs="audit --attachments all",
        sql="""\
  select reference, signed, has_sbom, has_provenance from images
  where content = 'image' and (signed = false or has_sbom = false)""",
    ),
    QueryExample(
        question="Images that no key verifies, and what is wrong with their signatures",
        needs="audit --verify-signatures POLICY",
        sql="""\
  select i.reference, i.not_verified_by, s.format, s.state, s.reason
  from images i left join signatures s using (reference)
  where i.verified_by = [] order by i.reference""",
    ),
    QueryExample(
        question="Images whose base image has moved",
        needs="audit --check-bases",
        sql="""\
  select reference, base_reference, digest, current_digest
  from bases where is_stale order by base_reference, reference""",
    ),
    QueryExample(
        question="Which teams run images in schema 1, past their support, or unsigned",
        needs="audit -f LIST --attachments all, where the list has a column team",
        sql="""\
  select l.value as team, count(*) filter (i.schema_version = 1) as schema_1,
         count(*) filter (i.end_of_life < i.audited_at) as ended,
         count(*) filter (not i.signed) as unsigned
  from input_labels l join images i using (reference)
  where l.name = 'team' group by all order by all""",
    ),
    QueryExample(
        question="Which workloads run an image that could not be audited",
        needs="audit -f kubernetes.yaml, or audit --cluster",
        sql="""\
  select s.namespace, s.workload, s.container, f.reference, f.failure
  from sources s join failures f using (reference) order by all""",
    ),
    QueryExample(
        question="The packages in most images",
        needs="audit --sbom sboms.jsonl",
        options="--sbom sboms.jsonl",
        sql="""\
  select name, type, count(distinct reference) as images,
         count(distinct version) as versions
  from packages group by all order by images desc, name limit 20""",
    ),
    QueryExample(
        question="Attachments by type",
        sql="""\
  select kind, artifact_type, predicates, count(distinct reference) as images
  from attachments group by all order by images desc""",
    ),
    QueryExample(
        question="Images by named base image",
        sql="""\
  select base_name, base_digest, count(distinct reference) as images
  from platforms where base_name is not null group by all order by images desc""",
    ),
    QueryExample(
        question="Labels",
        needs="audit --label 'org.example.*'",
        sql="""\
  select repository, tag, platform, labels['org.example.team'] as team
  from platforms where labels is not null""",
    ),
    QueryExample(
        question="Annotations",
        sql="""\
  select repository, tag, annotations['org.opencontainers.image.version'] as version
  from images where version is not null""",
    ),
)
