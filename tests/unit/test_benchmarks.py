"""The yardstick of the benchmarks runs the product's own statements: it must keep up with them."""

import sys
from importlib import import_module
from pathlib import Path

import pytest


def test_the_yardstick_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[2] / "benchmarks"), *sys.path])
    bare = import_module("bare")
    assert len(bare.inserts("normal", 10)) == 10
    assert bare.claims_and_finishes(count=50, batch=20) > 0
