"""Images to learn from: scenes of shapes drawn on the spot, and folders of real images."""
