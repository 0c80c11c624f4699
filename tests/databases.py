"""Tests that run on each database."""

import pytest

on_each_database = pytest.mark.parametrize("lab", ["sqlite", "postgres"], indirect=True)
