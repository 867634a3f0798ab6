"""Journals as a measured process begins them."""

from e2s_tasks.ledger import Journal, journal_path


def started(journals, process):
    """A journal of the process in the directory, with the process as its first record."""
    journal = Journal(journal_path(journals, process))
    journal.append(process)
    return journal
