"""Another program holds the database for longer than anybody waits: all goes on when it lets go."""

from typing import Any

import apsw


def _rows(lab: Any, sql: str) -> list[Any]:
    connection = apsw.Connection(str(lab.database), apsw.SQLITE_OPEN_READONLY)
    try:
        return list(connection.execute(sql))
    finally:
        connection.close()


def test_a_stranger_who_locks_the_database_costs_no_slot(lab: Any) -> None:
    """The slots that were due meanwhile are stored when it is free again, each of them once."""
    lab.add("tasks.py", "\n@cron(every=1, missed='all', overlap='allow')\ndef beat():\n    pass\n")
    lab.start()
    slots = "select slot from jobs where slot is not null order by slot"
    lab.until(lambda: _rows(lab, slots), 10, "a slot")
    stranger = apsw.Connection(str(lab.database))
    stranger.set_busy_timeout(5000)
    stranger.execute("begin immediate")
    lab.until(lambda: "cannot be used now" in lab.output(), 15, "the node gives up waiting")
    before = len(_rows(lab, slots))
    stranger.execute("rollback")
    stranger.close()
    lab.until(lambda: len(_rows(lab, slots)) >= before + 8, 15, "the missed slots and one more")
    stored = [slot for (slot,) in _rows(lab, slots)]
    assert stored == [stored[0] + number for number in range(len(stored))]


def test_what_workers_declare_while_the_database_is_locked_is_stored_later(lab: Any) -> None:
    wait = "while not os.path.exists('locked'):\n        time.sleep(0.01)\n"
    lab.add("tasks.py", f"if 'autocron.worker' in sys.orig_argv:\n    print('importing', flush=True)\n    {wait}")
    lab.add("tasks.py", "\n@cron(every=1)\ndef beat():\n    note('beat')\n")
    lab.start()
    lab.until(lambda: "importing" in lab.output())
    stranger = apsw.Connection(str(lab.database))
    stranger.execute("begin immediate")
    lab.open_gate("locked")
    lab.until(lambda: "cannot be used now" in lab.output(), 15, "the node gives up waiting")
    assert lab.store.schedules() == []
    stranger.execute("rollback")
    stranger.close()
    lab.until(lambda: "beat" in lab.ledger(), 10, "a beat")
