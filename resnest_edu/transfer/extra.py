"""The libraries that detection and segmentation need and the rest of the package does not."""

import importlib


def require_extra(*modules: str) -> None:
    """Raise ImportError, saying what to install, unless all of the modules can be imported."""
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ImportError(f"this needs {module}: pip install 'resnest-edu[transfer]'") from error
