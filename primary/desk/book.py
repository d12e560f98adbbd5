"""The book: what waits at the desk, in the primary's database and not in its log.

All methods are for one thread at a time, and raise StoreUnavailableError when the database refuses.
"""

from __future__ import annotations

from primary.desk.applications import Applications
from primary.desk.book_file import BookFile
from primary.desk.complaint_counts import ComplaintCounts
from primary.desk.counts import Counts
from primary.desk.letters import Letters
from primary.desk.registered import Registered
from primary.desk.standings import Standings


class Book:
    """The book of one registry, over connections of its own."""

    def __init__(self, url: str) -> None:
        self._file = BookFile(url)
        self.registered = Registered(self._file)
        self.applications = Applications(self._file)
        self.standings = Standings(self._file)
        self.letters = Letters(self._file)
        self.counts = Counts(self._file)
        self.complaints = ComplaintCounts(self._file)

    def close(self) -> None:
        """Gives the connections back."""
        self._file.close()
