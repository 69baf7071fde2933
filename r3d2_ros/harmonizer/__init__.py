"""R3D2, the one-step image-to-image diffusion model that gives inserted actors shadows and the scene's light.

To be read in this order:

- moment, harmonizer: what goes in, the whole way of a picture, what comes out
- compositing: where the network may change something, on which crops it runs, how what it changed is pasted
- temporal: what it changed in the last frame, carried along
- base, backends: what a network is to all of these, and the one that `harmonizer.backend` names
- model: the network and its files
- runtime: how it is executed, with rewrites (the same function in fewer operations) and float8 (in 8-bit numbers)
- pipelines, convert: networks as others publish them, run as they are or made ours
- settings, checking, grey_moments, packages: what can be configured, and what is found before a start
"""
