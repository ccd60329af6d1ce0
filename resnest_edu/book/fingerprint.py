"""Which code made a record: a hash of the definitions that an experiment reaches.

It is the same on every version of Python, and blind to whatever cannot change a figure: comments, docstrings, imports,
the words of errors, in which module a definition stands, and definitions that the experiment does not use.
"""

import ast
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGE = __name__.partition(".")[0]
_IRRELEVANT = ("ctx", "kind", "type_comment")  # of a node: derived from the rest, or without effect


def fingerprint(module: str) -> str:
    """A hash of the code that decides an experiment's figures: all of ``module``, and what that uses of this package,
    directly or not.

    A name that is used reaches every definition of this name in the modules that are imported: too much is counted
    rather than too little. What is only ever named in a text, as for ``getattr``, is not seen.

    Args:
        module: dotted name, such as ``resnest_edu.book.experiments.shapes_seeds``.

    Raises:
        ValueError: there is no such module.
    """
    source = _source(module)
    if source is None:
        raise ValueError(f"module (={module!r}) must be a module of this package")
    # How code is told apart changes no figure.
    counted = [statement for name, statement in reached(source, module) if name != __name__]
    text = "\n".join(sorted(map(_text, counted)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def modules(source: str) -> dict[str, str]:
    """The sources of the modules of this package that a program imports, directly or not, by name."""
    found: dict[str, str] = {}
    waiting = set(_imported(ast.parse(source)))
    while waiting:
        name = waiting.pop()
        text = _source(name)
        if text is not None:
            found[name] = text
            waiting |= {*_imported(ast.parse(text)), name.rpartition(".")[0]}
            waiting -= set(found)
    return found


def reached(source: str, name: str = "") -> list[tuple[str, ast.stmt]]:
    """All statements of a program that have an effect, and what they use of this package, directly or not, each with
    the name of its module.

    Args:
        source: of the program.
        name: of the program, if it is a module.
    """
    trees = {module: ast.parse(text) for module, text in {**modules(source), name: source}.items()}
    definitions: dict[str, list[tuple[str, ast.stmt]]] = {}
    found: list[tuple[str, ast.stmt]] = []
    for module, tree in trees.items():
        for statement in filter(_has_effect, tree.body):
            names = _defined(statement)
            if module == name or not names:
                found.append((module, statement))
            for defined in names:
                definitions.setdefault(defined, []).append((module, statement))
    imports = {
        alias.asname or alias.name.partition(".")[0]: alias.name
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    seen = {id(statement) for _, statement in found}
    for _, statement in found:  # which grows meanwhile
        for used in _used(statement, imports):
            for definition in definitions.get(used, []):
                if id(definition[1]) not in seen:
                    seen.add(id(definition[1]))
                    found.append(definition)
    return found


def _source(module: str) -> str | None:
    """The source of a module of this package; None if the name is that of no module."""
    package, *parts = module.split(".")
    if package != PACKAGE:
        return None
    path = Path(__file__).parents[1].joinpath(*parts)
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            return file.read_text(encoding="utf-8")
    return None


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _has_effect(statement: ast.stmt) -> bool:
    """Whether it is none of an import, a text that stands by itself, ``__all__`` and its like."""
    match statement:
        case ast.Import() | ast.ImportFrom() | ast.Expr(ast.Constant()):
            return False
        case ast.Assign([ast.Name(name)]):
            return not name.startswith("__")
        case ast.If(body=body, orelse=orelse):  # such as what is imported for types alone
            return any(map(_has_effect, [*body, *orelse]))
    return True


def _defined(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _used(statement: ast.stmt, imports: Mapping[str, str]) -> Iterator[str]:
    """Names, those of imports as they were before ``as``, and attributes of what is imported: those of other objects
    are no definitions of a module.
    """
    for node in ast.walk(statement):
        if isinstance(node, ast.Name):
            yield node.id
            yield imports.get(node.id, node.id)
        elif isinstance(node, ast.Attribute):
            value = node.value
            while isinstance(value, ast.Attribute):
                value = value.value
            if isinstance(value, ast.Name) and value.id in imports:
                yield node.attr


def _text(node: object) -> str:
    """A syntax tree as text. Not by ``ast.dump``, whose form changes from one version of Python to another."""
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        node = ast.Raise(exc=node.exc.func, cause=node.cause)
    if isinstance(node, ast.JoinedStr):  # Python 3.12 ends the format of f"{x:{width}}" with an empty text
        node = ast.JoinedStr([part for part in node.values if getattr(part, "value", None) != ""])
    if isinstance(node, ast.AST):
        fields = {name: value for name, value in ast.iter_fields(node) if name not in _IRRELEVANT}
        parts = (f"{name}={_text(value)}" for name, value in sorted(fields.items()) if value not in (None, []))
        return f"{type(node).__name__}({', '.join(parts)})"
    if isinstance(node, list):
        kept = [part for part in node if not isinstance(part, ast.stmt) or _has_effect(part)]
        return f"[{', '.join(map(_text, kept))}]"
    return repr(node)
