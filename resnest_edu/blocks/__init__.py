"""The blocks that split attention descends from: squeeze-and-excitation, ResNeXt, selective kernels."""
