"""Pictures of a run, one file each; a test report refers to them by these names."""
