"""Imported relatively, which works only in a package."""

TITLE = "Monthly report"
