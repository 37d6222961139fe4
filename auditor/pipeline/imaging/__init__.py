"""One reference to one record: manifests, children, configs, what is attached."""
