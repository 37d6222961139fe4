"""Facts come back from the store's rows as they were, or not at all."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from auditor.audit.image_cache import decode, encode, variant_of
from auditor.audit.image_metadata import Answers, Facts, LabelPatterns, Wanted
from auditor.config import AttachmentMode, ImageConfigMode
from auditor.model import (
    Attachment,
    AttachmentKind,
    BaseImage,
    ConfigFacts,
    Layer,
    LayerTrait,
    Platform,
    Warn,
    WarningCode,
)
from auditor.oci.platform import read_platform

# What JSON can hold: no lone surrogates.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
MAYBE = st.none() | TEXTS
SIZES = st.none() | st.integers(0, 2**63 - 1)
YES_NO = st.none() | st.booleans()
DIGESTS = st.binary(min_size=32, max_size=32).map(lambda raw: "sha256:" + raw.hex())
LAYERS = st.builds(Layer, digest=DIGESTS, size=SIZES, media_type=MAYBE)
LABELS = st.none() | st.dictionaries(TEXTS, TEXTS, max_size=2)
PLATFORMS = st.builds(
    Platform,
    os=MAYBE,
    architecture=MAYBE,
    variant=MAYBE,
    os_version=MAYBE,
    digest=DIGESTS,
    media_type=MAYBE,
    config_digest=st.none() | DIGESTS,
    created=MAYBE,
    config=st.none()
    | st.builds(ConfigFacts, user=MAYBE, history=st.integers(0, 99), labels=LABELS),
    base=st.none() | st.builds(BaseImage, name=MAYBE, digest=MAYBE),
    size=SIZES,
    layers=st.none() | st.lists(LAYERS, max_size=3).map(tuple),
    layer_traits=st.lists(st.sampled_from(LayerTrait), max_size=2).map(tuple),
)
ATTACHMENTS = st.builds(
    Attachment,
    kind=st.sampled_from(AttachmentKind),
    artifact_type=MAYBE,
    digest=DIGESTS,
    subject=MAYBE,
    predicates=st.none() | st.lists(TEXTS, max_size=2).map(tuple),
)
FACTS = st.builds(
    Facts,
    digest=DIGESTS,
    media_type=TEXTS,
    schema_version=st.sampled_from((1, 2)),
    artifact_type=MAYBE,
    platforms=st.lists(PLATFORMS, max_size=3).map(tuple),
    platforms_left_out=st.integers(0, 9),
    attachments=st.lists(ATTACHMENTS, max_size=2).map(tuple),
    annotations=st.dictionaries(TEXTS, TEXTS, max_size=2),
    warnings=st.lists(
        st.builds(Warn, code=st.sampled_from(WarningCode), detail=TEXTS), max_size=2
    ).map(tuple),
    blobs=st.just(frozenset()),
    answers=st.builds(Answers, signed=YES_NO, has_sbom=YES_NO, has_provenance=YES_NO),
)


@given(FACTS, st.sets(DIGESTS, max_size=3), st.sets(DIGESTS, max_size=3))
def test_facts_come_back_as_they_were(
    facts: Facts, manifests: set[str], configs: set[str]
) -> None:
    found, *below = decode(encode(facts, manifests, configs))
    assert found == facts
    assert found.size == facts.size
    assert below == [sorted(manifests), sorted(configs)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner),
)


@given(FACTS, st.data())
def test_a_row_of_another_shape_is_refused_in_ways_that_are_known(
    facts: Facts, data: st.DataObject
) -> None:
    row = orjson.loads(encode(facts, (), ()))
    name = data.draw(st.sampled_from(sorted(row)))
    if data.draw(st.booleans()):
        del row[name]
    else:
        row["platforms"] = [data.draw(JSON)]
        row[data.draw(TEXTS)] = data.draw(JSON)
    try:
        decode(orjson.dumps(row, option=orjson.OPT_NON_STR_KEYS))
    except (AttributeError, LookupError, TypeError, ValueError):
        return


def test_other_options_are_another_variant() -> None:
    wanted = [
        Wanted(),
        Wanted(image_config=ImageConfigMode.ALWAYS),
        Wanted(platforms=(read_platform("linux/arm64"),)),
        Wanted(labels=LabelPatterns(["a", "b"])),
        Wanted(labels=LabelPatterns(["a"])),
        Wanted(attachments=AttachmentMode.NONE),
    ]
    variants = {variant_of(one, recheck_s=s) for one in wanted for s in (7.0, 8.0)}
    assert len(variants) == 2 * len(wanted)
    again = Wanted(labels=LabelPatterns(["a"]))
    assert variant_of(wanted[4], 7.0) == variant_of(again, 7.0)
