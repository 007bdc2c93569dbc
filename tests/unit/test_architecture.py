"""The house's own rules: who imports whom, and where a library may be touched."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for top in ("gateway", "policies", "sandbox") for path in (ROOT / top).rglob("*.py"))

ALLOWED = {
    "duckdb": ("sandbox/engine/", "sandbox/ingest/", "sandbox/release/post.py", "sandbox/worker.py"),
    "opendp": ("sandbox/release/", "sandbox/relational/price.py"),
    "fastapi": ("gateway/http/", "gateway/app.py"),
    "starlette": ("gateway/http/", "gateway/app.py", "gateway/witness/server.py", "sandbox/service.py"),
    "jwt": ("gateway/identity/",),
    "sqlglot": ("gateway/sql/", "sandbox/relational/lower/"),
    "typer": ("gateway/cli/",),
    "rich": ("gateway/cli/",),
    "psycopg": ("gateway/stores/postgres.py",),
    "structlog": ("sandbox/logs.py",),
    "logging": ("sandbox/logs.py", "gateway/sql/parse.py"),
    "httpx": (
        "gateway/audit/stamping.py",
        "gateway/audit/witnessing.py",
        "gateway/clocked.py",
        "gateway/cli/client.py",
        "gateway/identity/fetch.py",
    ),
    "rfc3161_client": ("gateway/audit/stamping.py", "gateway/audit/stamps.py"),
    "httpcore": ("gateway/clocked.py",),
}
"""Library -> folders and files that may import it. duckdb in `worker.py`: a zygote imports it before it forks."""
GATEWAY_MAY_SEE = re.compile(
    r"sandbox(\.(protocol|codec|connection|logs|notes|tls|tls_words|relational(\.(nodes|expressions|canonical|normal|blocks))?))?$"
)


def imports(source: str) -> set[str]:
    """Every module that a source names, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            if node.module in ("sandbox", "sandbox.relational"):
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def misplaced(where: str, source: str) -> set[str]:
    """Libraries that `source` imports although it is not one of their places."""
    libraries = {module.split(".")[0] for module in imports(source)} & set(ALLOWED)
    return {library for library in libraries if not where.startswith(ALLOWED[library])}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_library_is_imported_only_in_its_places(module: Path) -> None:
    assert misplaced(module.relative_to(ROOT).as_posix(), module.read_text("utf-8")) == set()


def test_a_misplaced_import_is_noticed() -> None:
    assert misplaced("gateway/pipeline.py", "def f():\n    import duckdb\n") == {"duckdb"}
    assert misplaced("gateway/pipeline.py", "from opendp.prelude import x\n") == {"opendp"}
    assert misplaced("sandbox/release/noise.py", "import opendp.prelude as dp\n") == set()


def test_the_gateway_sees_the_domains_words_and_nothing_else_of_it() -> None:
    seen = {
        (module.relative_to(ROOT).as_posix(), each)
        for module in MODULES
        if module.is_relative_to(ROOT / "gateway")
        for each in imports(module.read_text("utf-8"))
        if each.split(".")[0] == "sandbox"
    }
    assert {(where, what) for where, what in seen if not GATEWAY_MAY_SEE.match(what)} == set()


def test_the_gateway_does_not_even_load_engine_or_noise() -> None:
    """Whatever it imports imports: a gateway that was taken over has no engine at hand."""
    code = "import gateway.app, sys; sys.exit(bool({'duckdb', 'opendp'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_verifier_shares_nothing_with_the_writer() -> None:
    own = (
        "offline",
        "verify",
        "older",
        "climbing",
        "keys",
        "stamps",
        "sm2",
        "suites",
        "tiled",
        "report",
        "replay",
        "replay_blocks",
        "replay_caps",
        "replay_rights",
        "shapes",
        "broken",
        "bundles",
        "told",
        "unique",
        "note",
    )
    libraries = ("cryptography", "rfc3161_client", *sys.stdlib_module_names)
    allowed = {*(f"gateway.audit.{module}" for module in own), *libraries}
    for module in own:
        source = (ROOT / "gateway" / "audit" / f"{module}.py").read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert all(name in allowed or name.split(".")[0] in allowed for name in names), names


def test_imports_run_one_way() -> None:
    command = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    assert command is not None, "import-linter is part of the [test] extra"
    done = subprocess.run([command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


DOORS = {
    "gateway/cli/__init__.py",  # the command `bpk` enters there, and its imports wait
    "sandbox/__init__.py",  # says how many threads numpy's algebra has, which has to stand before numpy
    "sandbox/lockdown/__init__.py",  # two functions and a record are all that the outside sees of the walls
}


def test_a_package_says_in_one_sentence_what_it_is() -> None:
    for module in MODULES:
        if module.name == "__init__.py":
            tree = ast.parse(module.read_text("utf-8"))
            assert ast.get_docstring(tree), module
            if module.relative_to(ROOT).as_posix() not in DOORS:
                assert len(tree.body) == 1, module


def test_no_module_is_called_after_nothing() -> None:
    assert {module.stem for module in MODULES} & {"utils", "util", "helpers", "common", "manager", "misc"} == set()
