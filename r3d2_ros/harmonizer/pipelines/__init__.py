"""Backend `pipeline`: diffusers folders that are called with an image alone, such as the released R3D2."""
