"""The demo: a scripted drive through a street, and what is kept of the pictures that come back."""
