"""Speed, memory and start-up of recurrent layers, measured side by side."""
