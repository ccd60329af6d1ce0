"""ResNeSt (split-attention networks), taught by building it."""
