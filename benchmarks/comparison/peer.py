"""The peers: what their files say about themselves, and their virtual environments."""

import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

ROOT = Path(__file__).parents[2]
FILES = ROOT / "benchmarks" / "peers"
HOME = ROOT / ".venv" / "peers"
PYTHONS = (sys.executable, "python3.11", "python3.12", "python3.13", "python3.14")
ONE_AT_A_TIME = Lock()
PRINT_VERSION = "import platform; print(platform.python_version())"
HEADER = re.compile(r"(?m)^# /// script$\n((?:^#.*$\n)+?)^# ///$")  # inline script metadata, as the standard has it


class Skip(Exception):
    """Why a peer cannot be measured here."""


@dataclass(frozen=True)
class Peer:
    """A library in one configuration. Its file says the rest."""

    name: str  # of the file, with the variant: unique
    file: Path
    variant: str
    requires_python: str
    dependencies: tuple[str, ...]
    title: str
    package: str
    store: str  # "sqlite", "redis" or "postgres"
    settings: str
    durability: str = ""  # that of a server is the server's
    checkout: bool = False  # this project itself

    @property
    def environment(self) -> Path:
        return HOME / "venv" / self.file.stem

    @property
    def python(self) -> Path:
        return self.environment / "bin" / "python"

    def prepare(self) -> None:
        """Make the virtual environment unless it is there with just these packages."""
        packages = [*(["--editable", str(ROOT)] if self.checkout else []), *self.dependencies]
        make_environment(self.environment, interpreter(self.requires_python), packages)

    def ask_version(self) -> str:
        return ask(self.python, f"from importlib.metadata import version; print(version({self.package!r}))")

    def ask_python(self) -> str:
        return ask(self.python, PRINT_VERSION)


def all_peers() -> list[Peer]:
    return [peer for file in sorted(FILES.glob("*_*.py")) for peer in read(file)]


def read(file: Path) -> list[Peer]:
    """Read the variants of a peer from the header of its file."""
    found = HEADER.search(file.read_text())
    if not found:
        return []
    header = tomllib.loads("".join(line[2:] or "\n" for line in found[1].splitlines(keepends=True)))
    common: dict[str, Any] = header["tool"]["peer"]
    variants: dict[str, dict[str, str]] = common.pop("variants", {"": {}})
    return [
        Peer(
            name=f"{file.stem}-{variant}" if variant else file.stem,
            file=file,
            variant=variant,
            requires_python=header["requires-python"].removeprefix(">="),
            dependencies=tuple(header["dependencies"]),
            **(common | own),
        )
        for variant, own in variants.items()
    ]


@cache
def interpreter(least: str) -> str:
    """Find a Python that is new enough."""
    wanted = tuple(map(int, least.split(".")))
    for name in PYTHONS:
        path = shutil.which(name)
        version = ask(Path(path), PRINT_VERSION) if path else ""
        if version and tuple(map(int, version.split(".")[:2])) >= wanted:
            return str(path)
    raise Skip(f"it needs Python {least}, which is not on PATH")


def ask(python: Path, code: str) -> str:
    """Give what Python prints, or nothing if it cannot run that."""
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def make_environment(folder: Path, python: str, packages: list[str]) -> None:
    with ONE_AT_A_TIME:  # variants share theirs
        make_environment_alone(folder, python, packages)


def make_environment_alone(folder: Path, python: str, packages: list[str]) -> None:
    stamp, wanted = folder / "ready", "\n".join([python, *packages])
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([python, "-m", "venv", folder], check=True)
    pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    done = subprocess.run([folder / "bin" / "python", *pip], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Skip(f"pip cannot install it: {done.stderr.strip().splitlines()[-1]}")
    stamp.write_text(wanted)
