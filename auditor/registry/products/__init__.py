"""The APIs of registry products, for listings that the registry API does not give.

Theory of operation
-------------------
Each product has one file with a `Product` (product.py), which builds the paths of the
first pages and parses the responses, without any I/O. `ProductLister` sends the
requests, with the login of the registry in the form that the API takes
(`LoginMethod`). Google's registries have no API of their own: `google.py` reads what
they add to the listing of tags. `recognise.py` recognises the product of a registry.
`listing/choose.py` decides which of them is used.

To add a product: write its file, add it to `ListerName` and to `_PRODUCTS` in
`listing/choose.py`, and describe it in docs/registries/index.md.
"""
