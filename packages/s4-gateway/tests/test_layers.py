"""Which module may know which outside thing: what import-linter cannot say, read from the syntax of the installed package."""

import ast
import importlib.resources
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

# Outside package -> the modules (below s4_gateway) that may import it.
ALLOWED_IMPORTERS = {
    "httptools": ("backend.s3.http.*",),
    "duckdb": ("jobs.*",),
    "starlette": ("app", "serve", "serve.*", "wire", "wire.*"),
    "uvicorn": ("serve", "serve.*"),
    "uvloop": ("serve", "serve.*"),
}
# The environment is read once, at the edge, so that settings have one place and tests need no patching.
# The test helper that starts the command hands its own environment on, without what could steer the gateway.
ALLOWED_ENVIRONMENT_READERS = ("settings", "settings.*", "testing.server")


def _modules() -> Iterator[tuple[str, ast.Module]]:
    root = Path(str(importlib.resources.files("s4_gateway")))
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        yield ".".join(part for part in parts if part != "__init__"), ast.parse(path.read_text(encoding="utf-8"))


MODULES = dict(_modules())


def _imported(tree: ast.Module) -> set[str]:
    """The top-level names of everything imported anywhere in the module, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
    return names


def _reads_environment(tree: ast.Module) -> bool:
    names = {"environ", "environb", "getenv", "getenvb"}
    return any(
        (isinstance(node, ast.Attribute) and node.attr in names and isinstance(node.value, ast.Name) and node.value.id == "os")
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and not names.isdisjoint(alias.name for alias in node.names))
        for node in ast.walk(tree)
    )


def _allowed(module: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(module, pattern) for pattern in patterns)


def test_the_whole_package_is_read() -> None:
    """The checks below look at the installed modules, not at nothing."""
    assert {"", "call", "errors", "backend.abc"} <= MODULES.keys()


@pytest.mark.parametrize("outside", ALLOWED_IMPORTERS)
def test_outside_package_is_imported_only_where_allowed(outside: str) -> None:
    """An outside package is known to the layer that wraps it, and to nothing else."""
    importers = [module for module, tree in MODULES.items() if outside in _imported(tree)]

    assert [module for module in importers if not _allowed(module, ALLOWED_IMPORTERS[outside])] == []


def test_only_settings_read_the_environment() -> None:
    """No module but settings looks at environment variables."""
    readers = [module for module, tree in MODULES.items() if _reads_environment(tree)]

    assert [module for module in readers if not _allowed(module, ALLOWED_ENVIRONMENT_READERS)] == []


def test_environment_reads_are_noticed() -> None:
    """Each way to the environment counts as reading it, and a name that only looks like one does not."""
    assert _reads_environment(ast.parse("import os\nos.environ['HOME']"))
    assert _reads_environment(ast.parse("import os\nos.getenv('HOME')"))
    assert _reads_environment(ast.parse("from os import environ"))
    assert not _reads_environment(ast.parse("settings.environ['HOME']"))
