"""The network as a backbone: detection, instance segmentation, semantic segmentation."""
