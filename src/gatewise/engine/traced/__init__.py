"""A cell's step and its derivative as short lists of operations on numbers: what compiled engines emit."""
