"""Registry products: which one it is, and the API that tells what it holds.

`recognise.py` knows them by what they show; each API has a file of its own.
A product says where a list begins and what an answer means. Nothing here sends a
request: `registry/lists/product_lists.py` does.
"""

from __future__ import annotations

from auditor.registry.products.api import LoginMethod, Product

__all__ = ["LoginMethod", "Product"]
