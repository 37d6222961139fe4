"""Registries, token services and faults for tests and benchmarks.

Theory of operation: the demo's registry (`auditor.demo`) runs in the test's process.
`registry.registry_app` gives it the behaviour of other products (`Behaviour`, `Basic`),
`token_service.FakeTokenService` is a token service with all its variants, and
`attached_images` builds signatures and attestations. `faults.Faults` is a middleware in
front of it: rules and a random mix (`fault_mix`) of actions (`fault_actions`), and a
log of all requests. `dialects` are middlewares for deviations from the specification,
`products` the APIs of products. `docker_registry` runs the real registry over a folder
that `store` writes. `expected` computes what an audit must report of a built image.
"""
