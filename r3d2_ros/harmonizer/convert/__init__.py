"""Checkpoints from what others publish: Stable Diffusion and TAESD folders, pix2pix-turbo and Difix pickles, the
released R3D2."""
