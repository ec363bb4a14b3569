"""The sources of the project as syntax trees, for the tests of what they may hold."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def of_every_file(*folders: str) -> Callable[[Callable[[Path], None]], Callable[[], None]]:
    """Makes a test of a file one of all files in some folders, which names each that it fails for."""

    def made(test: Callable[[Path], None]) -> Callable[[], None]:
        def all_files() -> None:
            failed = list[str]()
            for path in sources(*folders):
                try:
                    test(path)
                except AssertionError as error:
                    failed.append(f"{name_of(path)}: {error}")
            assert not failed, "\n".join(failed)

        all_files.__name__, all_files.__doc__ = test.__name__, test.__doc__
        return all_files

    return made


def imports(tree: ast.AST) -> Iterator[tuple[str, str | None]]:
    """Every import: the module, and the name taken out of it; a relative module keeps its dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((module, alias.name) for alias in node.names)


def dotted(node: ast.AST) -> str:
    """``torch.cuda.seed`` for the expression of that form, and nothing for any other."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := dotted(node.value)):
        return f"{base}.{node.attr}"
    return ""
