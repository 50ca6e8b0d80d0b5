"""Pages that need no server and no network: one HTML file with its data, scripts and styles inside."""
