"""The usual answer, known at a glance; every other one is llhttp's to read.

Nearly all that an audit is answered is alike: a 200 with its length, whole in the
first piece that comes. llhttp calls back for each of its fields, which costs three
times what this does. What is taken here, llhttp takes for the same
(`tests/property/test_http1_usual_answers.py`), and of what is not, nothing is said.
"""

from __future__ import annotations

import re

from auditor.registry.network.http1.fields import Fields

# A longer head is left to `answer_reader.MAX_HEAD_BYTES`.
_MOST_HEAD_BYTES = 8 * 1024
# RFC 9110 section 5: a field's name is a token, and its value has no control
# characters but tabs. No two ways lead through a field (`*+`), so that a strange head
# costs two passes at most. The fields together are without `+`: before 3.11.5 Python
# takes groups that are possessive for shorter than they are (CPython issue 106052).
_FIELD = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~\x80-\xff]*+"
# Fields that say nothing of where the answer ends, what coding its content has, or
# whether the connection stays.
_OTHERS = (
    rb"(?:\r\n(?!(?i:con(?:nection|tent-(?:length|encoding))|proxy-connection"
    rb"|transfer-encoding|upgrade):)" + _FIELD + rb"|\r\n(?i:connection: keep-alive)"
    rb"(?=\r\n))*"
)
_USUAL = re.compile(
    rb"HTTP/1\.1 200 [ -~]*+(?P<fields>"
    + _OTHERS
    + rb"\r\n(?i:content-length): (?P<length>[0-9]{1,9})(?=\r\n)"
    + _OTHERS
    + rb"\r\n)\r\n"
)


def usual_answer(
    piece: bytes, *, head_only: bool, max_bytes: int
) -> tuple[int, Fields, bytes] | None:
    """Status, fields and content, if this piece is a usual answer and nothing else.

    `head_only` and `max_bytes` as in `AnswerReader.begin`. Null says nothing: it may
    be a good answer all the same.
    """
    found = _USUAL.match(piece)
    if found is None:
        return None
    fields, length = found.groups()
    start, size = found.end(), 0 if head_only else int(length)
    if start + size != len(piece) or size > max_bytes or start > _MOST_HEAD_BYTES:
        return None
    return 200, Fields(fields), piece[start:]
