"""``autocron DATABASE set``: what people type, and what is stored of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from autocron.cli.command import autocron
from autocron.cli.setting import MEANINGS, parsed
from autocron.errors import ConfigError
from autocron.model import Settings
from autocron.settings import NAMES
from autocron.store.sqlite import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from autocron.store.base import Store


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("AUTOCRON_HOME", str(tmp_path))
    store = open_store(tmp_path / "shop.db")
    store.settings()
    yield store
    store.close()


def run(*args: str) -> Result:
    return CliRunner().invoke(autocron, ["shop.db", *args], env={"COLUMNS": "100"})


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("workers", "3", {"workers": 3, "queues": {}}),
        ("queues", "default=2,mail=1", {"workers": 3, "queues": {"default": 2, "mail": 1}}),
        ("queues", '{"a=b": 2}', {"workers": 2, "queues": {"a=b": 2}}),
        ("queues", "none", {"queues": {}}),
        ("grace", "30", {"grace": 30.0}),
        ("linger", "2.5", {"linger": 2.5}),
        ("result_ttl", "30m", {"result_ttl": 1800.0}),
        ("failed_ttl", "7d", {"failed_ttl": 604800.0}),
        ("max_jobs", "100", {"max_jobs": 100}),
        ("max_memory", "None", {"max_memory": None}),
        ("reload", "on", {"reload": True}),
        ("locked", "ON", {"locked": True}),
        ("locked", "false", {"locked": False}),
    ],
)
def test_what_is_typed_is_understood(name: str, text: str, wanted: dict[str, Any]) -> None:
    assert parsed(name, text) == wanted


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("worker", "3", "there is no setting 'worker'; there are workers, queues, locked, grace"),
        ("workers", "0", "0 is not a whole number from 1 on"),
        ("workers", "2.5", "'2.5' is not a whole number from 1 on"),
        ("workers", "none", "'none' is not a whole number from 1 on"),
        ("max_jobs", "many", "'many' is not a whole number from 1 on, or none"),
        ("max_jobs", "-1", "-1 is not a whole number from 1 on"),
        ("queues", "mail", "write default=2,mail=1, or none"),
        ("queues", "mail=x", "write default=2,mail=1, or none"),
        ("queues", "{", "write default=2,mail=1, or none"),
        ("queues", "mail=0", "workers of 'mail': 0 is not a whole number"),
        ("queues", " =1", "' ' is no name"),
        ("grace", "soon", "'soon' is no duration; give seconds, or such as 30m, 12h, 7d"),
        ("grace", "none", "'none' is no duration"),
        ("grace", "-1", "-1.0 is not a finite number of seconds from 0 on"),
        ("grace", "", "'' is no duration"),
        ("reload", "1", "'1' is neither on nor off"),
        ("locked", "maybe", "'maybe' is neither on nor off"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_says_what_would_be_right(
    store: Store, name: str, text: str, hint: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(name, text)
    assert hint in str(caught.value)
    result = run("set", name, text)
    assert result.exit_code == 2
    assert hint in " ".join(result.output.split())
    assert store.settings() == Settings()


def test_every_setting_can_be_set_and_is_explained() -> None:
    assert {*NAMES, "locked"} == {*Settings.__struct_fields__} == {*MEANINGS}


def test_a_setting_is_stored_and_told(store: Store) -> None:
    assert run("set", "queues", "default=2,mail=1").output.splitlines()[1:] == [
        'queues: {"default":2,"mail":1}',
        "workers: 3",
    ]
    assert run("set", "workers", "2").output.splitlines()[1:] == ["workers: 2", "queues: none"]
    assert run("set", "max_memory", "none").output.splitlines()[1:] == ["max_memory: none"]
    assert run("set", "result_ttl", "5400").output.splitlines()[1:] == ["result_ttl: 90m"]
    assert run("set", "queues", "none").output.splitlines()[1:] == ["queues: none"]
    assert run("set", "grace", "1m").exit_code == 0
    assert (store.settings().workers, store.settings().queues, store.settings().grace) == (2, {}, 60.0)


def test_all_settings_are_shown_with_the_defaults_marked(store: Store) -> None:
    store.set({"grace": 9.0})
    lines = run("set").output.splitlines()
    assert any("linger" in line and "2s (default)" in line for line in lines)
    assert any("grace" in line and "9" in line and "default" not in line for line in lines)


def test_one_setting_is_shown_by_its_name(store: Store) -> None:
    store.set({"grace": 9.0})
    shown = run("set", "grace").output
    assert "9s" in shown
    assert "linger" not in shown
    assert store.settings().grace == 9.0
    unknown = run("set", "gracee")
    assert unknown.exit_code == 2
    assert "there is no setting 'gracee'; there are workers" in unknown.output


def test_a_setting_that_cannot_be_used_is_repaired(store: Store) -> None:
    store.set({"workers": 0})
    broken = run("set")
    assert broken.exit_code == 1
    assert run("set", "workers", "2").exit_code == 0
    assert store.settings().workers == 2
