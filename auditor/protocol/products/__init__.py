"""The APIs of registry products that tell what they hold, each in a file.

A product says where a list begins and what an answer means. Nothing here sends a
request: `registry/lists/product_lists.py` does.
"""

from __future__ import annotations

from auditor.protocol.products.product import Login, Product

__all__ = ["Login", "Product"]
