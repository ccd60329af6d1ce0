"""Experiments whose results are recorded, because they take longer than a page may, or need a GPU.

Each module is one experiment: a docstring that says what is asked, and ``NEEDS_CUDA``. One that trains on CIFAR-10 has
``NEEDS_DATA = True`` too. What it offers further is one of these two:

``run(device)`` returns plain values: every seed's figures and their summary.

``PIECES``, ``run_pieces(names, device, data)`` and ``summarize(results)`` make up an experiment of many independent
runs, such as "SK, seed 3". The record is written after every one of them, so nothing is lost when time is over.
``names`` is an iterator over what is to be run, in the order of ``PIECES``; taking a name means to begin with it, since
time may be over before the next. Pairs (name, plain values) are yielded in whatever order they are finished. ``data``
is the folder of CIFAR-10, None where it is not needed. ``summarize`` gets the values of all, by name, in the order of
``PIECES``.
"""
