"""Experiments whose results are recorded, because they take longer than a page may, or need a GPU.

Each module is one experiment: a docstring that says what is asked, ``NEEDS_CUDA``, and ``run(device)``, which returns
plain values: every seed's figures and their summary.
"""
