"""``python -m autocron`` is the admin tool."""

from autocron.cli import main

main()
