"""The page that looks inside a network: what its gates did, step by step, for one input."""
