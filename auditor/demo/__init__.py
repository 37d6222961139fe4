"""The registry and token service of `auditor demo`, which run in this process.

Theory of operation: `image_builder`, `artifact_builder` and `schema1_builder` build
manifests, configs and digests deterministically; `demo_images.official_images` uses
them to build the Docker Official Images from a data file. A `DemoContent` holds the
built images by repository, a `DemoRegistry` serves them with the rules of the
distribution specification, and `BearerAccess` requires tokens that a `DemoTokenService`
issues, signed with a `SigningKey`. `demo_images.demo_app` puts these together for the
command; tests and benchmarks use the same parts, with faults and other products from
tests/support.
"""
