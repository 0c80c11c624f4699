"""The application and its workers must give a thing the same name, however the application was started."""

import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from autocron.names import find_module, main_name, real_module_name

SHOW = "from autocron.names import main_name; print(main_name())"


def main_module(monkeypatch: pytest.MonkeyPatch, file: Path | str | None = None, spec: str | None = None) -> ModuleType:
    module = ModuleType("__main__")
    module.__file__ = None if file is None else str(file)
    module.__spec__ = None if spec is None else ModuleSpec(spec, None)
    monkeypatch.setitem(sys.modules, "__main__", module)
    return module


def run(*args: str | Path, cwd: Path, text: str = "") -> str:
    done = subprocess.run([sys.executable, *args], cwd=cwd, input=text, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_script_is_named_after_its_file(tmp_path: Path) -> None:
    for name in ("app", "my-app.v2"):
        (tmp_path / f"{name}.py").write_text(SHOW)
        assert run(f"{name}.py", cwd=tmp_path) == name
        assert run(tmp_path / f"{name}.py", cwd=tmp_path.parent) == name


def test_a_module_that_was_started_keeps_its_full_name(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    for name in ("__init__", "__main__", "serve"):
        (tmp_path / "shop" / f"{name}.py").write_text(SHOW if name != "__init__" else "")
    assert run("-m", "shop", cwd=tmp_path) == "shop.__main__"
    assert run("-m", "shop.serve", cwd=tmp_path) == "shop.serve"


def test_what_no_worker_could_import_has_no_name(tmp_path: Path) -> None:
    assert run("-c", SHOW, cwd=tmp_path) == "None"
    assert run("-", cwd=tmp_path, text=SHOW) == "None"
    assert run("-i", "-q", cwd=tmp_path, text=SHOW + "\n") == "None"


def test_a_script_that_was_deleted_has_no_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    main_module(monkeypatch, tmp_path / "gone.py")
    assert main_name() is None


def test_a_process_without_a_main_module_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "__main__")
    assert main_name() is None
    assert real_module_name("__main__") == "__main__"


def test_only_the_main_module_gets_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    main_module(monkeypatch, spec="shop.serve")
    assert real_module_name("__main__") == "shop.serve"
    assert real_module_name("shop.models") == "shop.models"


def test_the_main_module_is_found_by_its_real_name(monkeypatch: pytest.MonkeyPatch) -> None:
    module = main_module(monkeypatch, spec="shop.serve")
    assert find_module("shop.serve") is module


def test_a_module_imported_under_the_real_name_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    main_module(monkeypatch, spec="shop.serve")
    imported = ModuleType("shop.serve")
    monkeypatch.setitem(sys.modules, "shop.serve", imported)
    assert find_module("shop.serve") is imported


def test_finding_imports_nothing() -> None:
    assert find_module("antigravity") is None
    assert "antigravity" not in sys.modules
    assert find_module("sys") is sys
