"""``python -m resnest_edu.experiments``: the command that records the book's experiments, which stand in ``book``."""

import runpy

if __name__ == "__main__":
    runpy.run_module("resnest_edu.book.experiments", run_name="__main__", alter_sys=True)
