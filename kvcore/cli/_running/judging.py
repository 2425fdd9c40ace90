"""What `kvctl doctor` finds out about running nodes and workers, each by itself and all together."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kvcore.backends import Finding
from kvcore.cli._running.findings_of_node import findings_of_node
from kvcore.cli._running.findings_together import findings_together
from kvcore.cli._running.looking import Look

__all__ = ("Looked", "judged")


class Looked(msgspec.Struct, frozen=True):
    """What was found about a running node or worker, or, with url None, about all of them together."""

    url: str | None
    findings: Sequence[Finding]


def judged(looks: Sequence[Look]) -> list[Looked]:
    """Return what there is to say about each, and last about all together."""
    looked = [Looked(look.url, findings_of_node(look)) for look in looks]
    together = findings_together(looks)
    return [*looked, Looked(None, together)] if together else looked
