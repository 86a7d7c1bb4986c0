"""A limit of cost that is kept: money is set aside before a request is sent, and booked with its answer."""

from __future__ import annotations

import threading

from base.errors import ApportionError


class MaxCostError(ApportionError):
    """The next request could cost more than `max_cost` leaves; what was paid for is in the journal."""


class Purse:
    """Money spent, money set aside for what is under way, and the most that both may come to, if any."""

    def __init__(self, limit: float | None = None, spent: float = 0.0) -> None:
        self.limit, self.spent, self._aside = limit, spent, 0.0
        self._lock = threading.Lock()

    def reserve(self, amount: float) -> bool:
        """Set `amount` aside, if the limit allows it."""
        with self._lock:
            if self.limit is not None and self.spent + self._aside + amount > self.limit:
                return False
            self._aside += amount
            return True

    def settle(self, amount: float, cost: float) -> None:
        """What `amount` was set aside for has cost `cost`."""
        with self._lock:
            self._aside -= amount
            self.spent += cost

    def refuse(self, amount: float) -> MaxCostError:
        """The error for `amount` that is no longer there."""
        return MaxCostError(
            f"max_cost {self.limit:g} is reached: {self.spent:.4g} is spent, and the next request may cost "
            f"{amount:.4g}. All that was paid for is kept; raise max_cost and run the same command to go on"
        )
