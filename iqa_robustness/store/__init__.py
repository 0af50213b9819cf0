"""A content-addressed, write-once store of what is expensive to compute."""

from iqa_robustness.store.entry import Entry
from iqa_robustness.store.keys import Key, document_of
from iqa_robustness.store.records import SCHEMA_VERSION, Record
from iqa_robustness.store.store import Store

__all__ = ["SCHEMA_VERSION", "Entry", "Key", "Record", "Store", "document_of"]
