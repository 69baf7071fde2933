"""Renderers: placed Gaussians and camera views in, RGB, depth, alpha and instances out."""
