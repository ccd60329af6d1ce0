"""Experiments whose results are recorded: what depends on chance, takes longer than a page may, or needs a GPU.

Each module is one experiment: a docstring that says what is asked, and ``NEEDS_CUDA``. One that trains on CIFAR-10
has ``NEEDS_DATA = True`` too. It runs with one thread, unless ``THREADS`` says otherwise. What it offers further is one
of these three:

``SEEDS`` and ``run_seed(seed)``, which returns plain values: everything that is compared, from one seed, so that the
comparison is paired. Seeds run on the CPU, one on each core. ``summarize``, as below, if there is anything to add.

``run(device)`` returns plain values: every seed's figures and their summary. What it returns under ``files``, bytes by
name, is written beside the record, which names their SHA-256.

``PIECES``, ``run_pieces(names, device, data)`` and ``summarize(results)`` make up an experiment of many independent
runs, such as "SK, seed 3". ``names`` is an iterator over what is to be run, in the order of ``PIECES``; taking a name
means to begin with it, since time may be over before the next. Pairs (name, plain values) are yielded in whatever
order they are finished. ``data`` is the folder of CIFAR-10, None where it is not needed. ``summarize`` gets the values
of all, by name, in the order of ``PIECES``.

Of the first and the last kind, the record holds the values under ``pieces``, by seed or by name, and is written after
every one of them, so nothing is lost when time is over. What stands under ``earlier`` in a record, whole recordings
from other processors, stays when it is made anew.
"""
