"""The rules of the house: who may import whom, and an engine process without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "ambient"
COMMON = {"ambient.messages", "ambient.errors", "ambient.ports"}
HEAVY = {"torch", "diffusers", "transformers", "safetensors", "tokenizers", "torchsde"}
MAY: dict[str, set[str]] = {
    "scene": {"numpy", "pydantic", "yaml"},
    "plan": {"numpy", "ambient.scene"},
    "generate": {"numpy", "soxr", "soundfile", "av", "huggingface_hub", *HEAVY},
    "sound": {"numpy", "scipy", "soxr"},
    "sinks": {"numpy", "sounddevice", "av", "soundfile", "aiohttp", "ambient.sound"},
}
"""Room → what it may import beside the standard library, the common modules and itself."""
PURE = ("scene", "plan", "sound")
FORBIDDEN_IN_PURE = {"threading", "asyncio", "time", "random", "multiprocessing", "socket", "subprocess", "queue"}


def imports(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it, as a dotted name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found.add(node.module or "")
    return found


def allowed(name: str, may: set[str]) -> bool:
    return any(name == m or name.startswith(m + ".") for m in may)


def files(room: str) -> list[Path]:
    found = sorted((PACKAGE / room).rglob("*.py"))
    assert found
    return found


@pytest.mark.parametrize("room", MAY)
def test_rooms_import_only_what_they_may(room: str) -> None:
    may = MAY[room] | COMMON | {f"ambient.{room}"} | set(sys.stdlib_module_names)
    for path in files(room):
        wrong = {name for name in imports(path) if not allowed(name, may)}
        assert not wrong, f"{path.relative_to(PACKAGE)} may not import {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("room", PURE)
def test_the_pure_core_knows_no_threads_clocks_or_chance(room: str) -> None:
    for path in files(room):
        wrong = {name for name in imports(path) if name.split(".")[0] in FORBIDDEN_IN_PURE}
        assert not wrong, f"{path.relative_to(PACKAGE)} may not import {', '.join(sorted(wrong))}"
        text = path.read_text()
        assert "np.random.seed" not in text and "datetime.now" not in text


def test_only_the_generate_room_knows_the_heavy_libraries() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.relative_to(PACKAGE).parts[0] != "generate":
            wrong = {name for name in imports(path) if name.split(".")[0] in HEAVY}
            assert not wrong, f"{path.relative_to(PACKAGE)} may not import {', '.join(sorted(wrong))}"


def test_the_engine_process_never_imports_torch() -> None:
    program = (
        "import sys, ambient.cli, ambient.commands.live, ambient.commands.render, ambient.server;"
        "from ambient.generate.catalogue import describe; describe('bundled');"
        f"print([m for m in {sorted(HEAVY)} if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_the_import_test_finds_a_forbidden_import(tmp_path: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text("def f():\n    from torch.nn import Linear\n")
    assert imports(path) == {"torch.nn"}
    assert not allowed("torch.nn", MAY["scene"])
    assert allowed("torch.nn", MAY["generate"])


def test_everything_public_says_what_it_is_for() -> None:
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), f"{path} has no docstring"
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{path}: {node.name} has no docstring"


def test_every_folder_of_the_package_travels_in_the_wheel() -> None:
    import tomllib

    listed = set(tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = {f"ambient.{p.parent.relative_to(PACKAGE)}".replace("/", ".") for p in PACKAGE.rglob("__init__.py")}
    there = {"ambient" if name.endswith(".") else name for name in there}
    assert listed == there | {"ambient.library"}
