"""Numbers that show what a network did with its input: plain numpy on arrays of steps and units."""
