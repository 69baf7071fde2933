"""Training the harmonizer: losses, the loop, and what it writes."""
