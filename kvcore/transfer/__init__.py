"""Export and import: all keys as lines of a file, and back; also from what etcd and Consul write.

Everything streams: of a file of any size no more than a few batches are in memory. Nothing is lost silently: what cannot
be written is kept with its line number and the reason, and what is interrupted can go on.
"""

from __future__ import annotations

from kvcore.transfer.exporting import ExportSummary, FileOutput, StreamOutput, export
from kvcore.transfer.importing import Importer, ImportOptions, ImportSummary
from kvcore.transfer.patience import PATIENT, Patience
from kvcore.transfer.source import Source
from kvcore.transfer.writing import Writer

__all__ = (
    "PATIENT",
    "ExportSummary",
    "FileOutput",
    "ImportOptions",
    "ImportSummary",
    "Importer",
    "Patience",
    "Source",
    "StreamOutput",
    "Writer",
    "export",
)
