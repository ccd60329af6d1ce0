"""What stands between the notebooks and the rendered site: run, store, build, check."""

import sys

# jsonschema, with which notebooks and Jupyter Book's settings are read, would make 38 parsers of addresses when it is
# imported: seconds in every process, for a format that neither asks for. What maps to None cannot be imported.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
