"""Pictures of a run, one file each, drawn by the name that a test report gives."""
