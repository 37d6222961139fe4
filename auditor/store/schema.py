"""The tables of the store.

`content`   raw bytes by digest; `outer` is the sha256 of all bytes where the digest is
            over a part of them (signed schema 1), `used` epoch seconds, a day exact
`held`      which registry answered with it, what Content-Type it said, and when
`tags`      what a tag named when it was last asked for, and what the headers said
`places`    numbers for a registry (repository '') and its repositories
`hosts`     what was learned of a registry's HEAD and digest headers
`images`    what was put together of an image and all below it: by which rules and for
            which options (`variant`), from when until when all below is taken to be
            there (epoch seconds), `used` as of content, and a check over the row
"""

from __future__ import annotations

# "audr": tells our files from other programs' (PRAGMA application_id).
APPLICATION_ID = 0x61756472
# Of these tables and of what stands in them. A store is a cache: one of another
# format is made anew. `images` came later, and is made where it is missing: a program
# that does not know it does it no harm, and needs it not.
FORMAT = 1

TABLES = (
    "CREATE TABLE content (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE,"
    " outer_digest BLOB, packed INTEGER NOT NULL, body BLOB NOT NULL,"
    " used INTEGER NOT NULL)",
    "CREATE INDEX content_used ON content (used)",
    "CREATE TABLE held (content INTEGER NOT NULL, registry INTEGER NOT NULL, said,"
    " confirmed INTEGER NOT NULL, PRIMARY KEY (content, registry)) WITHOUT ROWID",
    "CREATE TABLE places (id INTEGER PRIMARY KEY, registry TEXT NOT NULL,"
    " repository TEXT NOT NULL, UNIQUE (registry, repository))",
    "CREATE TABLE tags (place INTEGER NOT NULL, tag TEXT NOT NULL,"
    " digest BLOB NOT NULL, header TEXT, said, seen INTEGER NOT NULL,"
    " mark INTEGER NOT NULL, PRIMARY KEY (place, tag)) WITHOUT ROWID",
    "CREATE TABLE hosts (registry INTEGER PRIMARY KEY, distrusted INTEGER NOT NULL,"
    " no_head_until INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS images (id INTEGER PRIMARY KEY, digest BLOB NOT NULL,"
    " registry INTEGER NOT NULL, variant BLOB NOT NULL, since INTEGER NOT NULL,"
    " until INTEGER NOT NULL, used INTEGER NOT NULL, packed INTEGER NOT NULL,"
    " body BLOB NOT NULL, mark INTEGER NOT NULL, UNIQUE (digest, registry))",
)
# Of those the ones that a store of this format may be without.
LATER_TABLES = TABLES[-1:]
