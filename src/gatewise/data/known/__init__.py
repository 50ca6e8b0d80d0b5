"""Public sets of data that are known by name: their origins, where they are, getting them."""
