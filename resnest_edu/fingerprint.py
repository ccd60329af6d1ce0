"""Which code made a record: a hash of the definitions that an experiment reaches.

It is the same on every version of Python, and blind to whatever cannot change a figure: comments, docstrings, imports,
the words of errors, in which module a definition stands, and definitions that the experiment does not use.
"""

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

PACKAGE = __name__.partition(".")[0]
_IRRELEVANT = ("ctx", "kind", "type_comment")  # of a node: derived from the rest, or without effect
Definitions = dict[str, list[ast.stmt]]


def fingerprint(module: str) -> str:
    """A hash of the code that decides an experiment's figures: all of ``module``, and what that uses of this package,
    directly or not.

    A name that is used reaches every definition of this name in the modules that are imported: too much is counted
    rather than too little. What is only ever named in a text, as for ``getattr``, is not seen.

    Args:
        module: dotted name, such as ``resnest_edu.experiments.shapes_seeds``.

    Raises:
        ValueError: there is no such module.

    Example:
        >>> from resnest_edu.fingerprint import fingerprint
        >>> len(fingerprint("resnest_edu.layouts"))
        16
        >>> fingerprint("resnest_edu.layouts") == fingerprint("resnest_edu.bottleneck")
        False
    """
    text = "\n".join(sorted(_text(statement) for statement in reached(module)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def modules(roots: set[str]) -> dict[str, str]:
    """The source of these modules of this package and of all that they import from it, directly or not, by name."""
    found: dict[str, str] = {}
    waiting = set(roots)
    while waiting:
        name = waiting.pop()
        source = _source(name)
        if source is not None:
            found[name] = source
            waiting |= set(_imported(ast.parse(source))) | {name.rpartition(".")[0]}
            waiting -= set(found)
    return found


def reached(module: str) -> list[ast.stmt]:
    """The statements that :func:`fingerprint` counts.

    Raises:
        ValueError: there is no such module.
    """
    sources = modules({module})
    if module not in sources:
        raise ValueError(f"module (={module!r}) must be a module of this package")
    trees = {name: ast.parse(source) for name, source in sources.items()}
    definitions: Definitions = {}
    found: list[ast.stmt] = []
    for name, tree in trees.items():
        for statement in filter(_has_effect, tree.body):
            names = _defined(statement)
            if name == module or not names:
                found.append(statement)
            for defined in names:
                definitions.setdefault(defined, []).append(statement)
    renamed = {
        alias.asname: alias.name
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    seen = {id(statement) for statement in found}
    for statement in found:  # which grows meanwhile
        for used in _used(statement):
            for definition in definitions.get(renamed.get(used, used), []):
                if id(definition) not in seen:
                    seen.add(id(definition))
                    found.append(definition)
    return found


def _source(module: str) -> str | None:
    """The source of a module of this package; None if the name is that of no module."""
    if module.partition(".")[0] != PACKAGE:
        return None
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:  # its parent is no package
        return None
    return Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else None


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _has_effect(statement: ast.stmt) -> bool:
    """Whether it is none of an import, a text that stands by itself, and ``__all__`` and its like."""
    match statement:
        case ast.Import() | ast.ImportFrom() | ast.Expr(ast.Constant()):
            return False
        case ast.Assign([ast.Name(name)]):
            return not name.startswith("__")
    return True


def _defined(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _used(statement: ast.stmt) -> Iterator[str]:
    for node in ast.walk(statement):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr


def _text(node: object) -> str:
    """A syntax tree as text. Not by ``ast.dump``, whose form changes from one version of Python to another."""
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        node = ast.Raise(exc=node.exc.func, cause=node.cause)
    if isinstance(node, ast.AST):
        fields = {name: value for name, value in ast.iter_fields(node) if name not in _IRRELEVANT}
        parts = (f"{name}={_text(value)}" for name, value in sorted(fields.items()) if value not in (None, []))
        return f"{type(node).__name__}({', '.join(parts)})"
    if isinstance(node, list):
        kept = [part for part in node if not isinstance(part, ast.stmt) or _has_effect(part)]
        return f"[{', '.join(map(_text, kept))}]"
    return repr(node)
