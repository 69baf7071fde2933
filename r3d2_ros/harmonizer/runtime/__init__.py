"""How the network is executed: eager, compiled, as a CUDA graph, with kernels chosen by measurement."""
