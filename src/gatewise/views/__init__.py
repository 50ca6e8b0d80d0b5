"""Views: the screen, tables and pictures."""
