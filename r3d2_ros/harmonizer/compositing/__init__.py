"""From the network's output to the picture: where it may change something, on which crops or reduced image it runs, and
how what it changed is pasted. Each with its kernels."""
