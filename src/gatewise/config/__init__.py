"""All that happens to a configuration before torch is imported."""
