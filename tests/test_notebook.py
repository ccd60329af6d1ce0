"""What a page shows of a source is the source."""

from pathlib import Path

import pytest

from resnest_edu.notebook import show_javascript, show_source

SCRIPT = """/* Of another. */
function other() {}

/* Twice
   as much. */
function twice(x) {
  if (x) {
    return 2 * x;
  }
  return 0;
}

function thrice(x) {
  return 3 * x;
}
"""


def test_functions_of_a_script_are_shown_whole_with_their_own_comments(tmp_path: Path) -> None:
    path = tmp_path / "script.js"
    path.write_text(SCRIPT, encoding="utf-8")
    whole = SCRIPT[SCRIPT.index("/* Twice") : SCRIPT.index("\n\nfunction thrice")]
    assert show_javascript(path, "twice").data == f"```js\n{whole}\n```"
    both = show_javascript(path, "thrice", "twice").data
    assert both == "```js\n" + SCRIPT[SCRIPT.index("function thrice") :] + "\n" + whole + "\n```"
    with pytest.raises(ValueError, match=r"name \(='twic'\) must be a function of script.js"):
        show_javascript(path, "twic")


def test_python_is_shown_without_its_indentation() -> None:
    assert show_source(Path.exists).data.startswith("```python\ndef exists(")
