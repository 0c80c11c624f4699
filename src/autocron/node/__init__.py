"""The node: the one process per database and machine that claims, dispatches, schedules and cleans up."""
