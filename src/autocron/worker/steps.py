"""The steps of a job, in the database."""

from typing import TYPE_CHECKING

from autocron.model import Claim

if TYPE_CHECKING:
    from collections.abc import Callable

    from autocron.store.base import Store


class StoredSteps:
    """Keeps the values of the steps of one attempt, as long as that holds its job.

    Args:
        store: gives the store, which few jobs need.
        max_payload: bytes of a value that are stored at most.
        claim: on the job.
    """

    def __init__(self, store: "Callable[[], Store]", max_payload: int, claim: Claim) -> None:
        self._store = store
        self._max_payload = max_payload
        self._claim = claim

    def kept(self, name: str) -> str | None:
        """Give the value of a step that was done, by this attempt or an earlier one."""
        return self._store().step(self._claim.uuid, name)

    def keep(self, name: str, value: str) -> None:
        """Store the value of a step.

        Raises:
            ValueError: it is too large.
            RuntimeError: this attempt does not hold the job any more.
            StoreError: the database can't be written.
        """
        size = len(value.encode())
        if size > self._max_payload:
            raise ValueError(f"the value of the step {name!r} takes {size:,} bytes; {self._max_payload:,} are stored")
        if not self._store().keep_step(self._claim.uuid, self._claim.attempt, name, value):
            raise RuntimeError(f"the step {name!r} is not kept: this attempt at the job is over")
