"""The network: bottleneck, the ResNeSt family, regularization, layouts, published weights, costs."""
