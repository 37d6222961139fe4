"""Who lists what a registry holds: the registry API, or a product's own."""
