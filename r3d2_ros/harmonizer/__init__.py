"""R3D2, the one-step image-to-image diffusion model that gives inserted actors shadows and the scene's light."""
