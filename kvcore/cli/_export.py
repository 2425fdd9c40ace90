"""The command that writes keys into a file: `export`."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvcore.cli._connection import TokenFile, Url, connected, utf8
from kvcore.cli._output import AsJson, note, show, to_stdout
from kvcore.environment import LOCAL_URL

if TYPE_CHECKING:
    from kvcore.transfer import ExportSummary

__all__ = ("export",)


def export(
    prefix: Annotated[
        str, typer.Option(metavar="TEXT", callback=utf8, help="Only the keys that begin with this.")
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write this file instead of stdout; compressed, if its name ends in .gz or .zst.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted export into the same file, if there is one.")
    ] = False,
    url: Url = LOCAL_URL,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Write keys with their values, one JSON object a line, in the order of their bytes.

    A line has "key", "value" (JSON, as it was written) or "value_base64", "media_type", "version" and "expires_at". Each
    key is as it was when its page was read: an export is no snapshot. FILE gets its name when it is whole, and is FILE.part
    until then. `kvctl import` reads what this writes.

    \b
    kvctl export --prefix session/ > sessions.jsonl
    kvctl export --output backup.jsonl.zst
    kvctl export --output backup.jsonl.zst --resume
    """
    from kvcore.cli._meter import Meter
    from kvcore.transfer import PATIENT, FileOutput, Patience, StreamOutput
    from kvcore.transfer import export as export_keys

    if output is None and (resume or as_json):
        raise typer.BadParameter("it goes with --output", param_hint="--resume" if resume else "--json")
    patience = Patience()
    target: FileOutput | StreamOutput | None = None
    try:
        with ExitStack() as stack:
            client = stack.enter_context(connected(url, token_file, retries=PATIENT, sleep=patience.sleep))
            if output is None:
                stack.enter_context(to_stdout())
                target = StreamOutput(sys.stdout.buffer, prefix)
            else:
                target = stack.enter_context(FileOutput(output, prefix, resume=resume))
            meter = stack.enter_context(Meter("exported", None))
            summary = export_keys(
                client, target, lambda so_far: meter.at(so_far.keys, so_far.keys_per_s, so_far.bytes), patience
            )
    except BaseException:
        if isinstance(target, FileOutput):
            note("interrupted; --resume goes on from here")
        raise
    if output is None:
        note(_told(summary))
    else:
        show({"file": str(output), "summary": summary}, _told(summary), as_json=as_json)


def _told(summary: ExportSummary) -> str:
    return (
        f"exported {summary.keys:,} keys of {summary.bytes / 1e6:,.1f} MB in {summary.seconds:,.1f} s,"
        f" {summary.keys_per_s:,.0f} keys/s"
    )
