"""Listings: the tags of a repository, and the repositories of a registry.

Theory of operation
-------------------
1. `choose_lister` picks a `Lister` for a registry: `DistributionLister` for the
   registry API, `ProductLister` for the API of a product, or a `SplitLister` of both.
2. A lister requests the first page and passes it to `read_pages`, which parses each
   response to a `ParsedPage` and follows its link.
3. `read_pages` detects links that go round in a circle and listings that end before the
   product's own count. `TruncationCheck` detects listings that end without a link at a
   suspicious number of entries.
4. The caller gets `Page`s and, if the listing is not complete, one final `Failure`.

Terms
-----
- listing: all tags of a repository, or all repositories of a registry.
- catalog: the listing of repositories by the registry API, `/v2/_catalog`.
- page: a part of a listing. A `ParsedPage` is one response; the caller gets `Page`s.
- truncated: a listing that the registry ends too early, without a sign.
"""
