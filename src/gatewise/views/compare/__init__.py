"""Runs side by side: as a table on the screen, as a CSV file, and as one page that needs no network."""
