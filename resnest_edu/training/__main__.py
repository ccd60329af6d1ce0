"""``python -m resnest_edu.training``: the command stands above all it trains, in :mod:`resnest_edu.cli`."""

import runpy

if __name__ == "__main__":
    runpy.run_module("resnest_edu.cli", run_name="__main__", alter_sys=True)
