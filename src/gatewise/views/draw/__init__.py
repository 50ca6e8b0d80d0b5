"""The page on which one writes, and sees what a network makes of it."""
