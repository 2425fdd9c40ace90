"""The command that writes what a file holds: `import`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kvcore.cli._connection import TokenFile, Url, connected, utf8
from kvcore.cli._output import AsJson, ExitCode, note, show
from kvcore.environment import LOCAL_URL

if TYPE_CHECKING:
    from kvcore.transfer import ImportSummary

__all__ = ("import_keys",)


def import_keys(
    file: Annotated[str, typer.Argument(metavar="FILE", show_default=False, help="'-' reads stdin.")],
    keep_versions: Annotated[
        bool,
        typer.Option(
            "--keep-versions",
            help="Write keys with the versions that they had; what is newer on the node stays. Needs the scope admin.",
        ),
    ] = False,
    prefix: Annotated[str, typer.Option(metavar="TEXT", callback=utf8, help="Put this before each key.")] = "",
    media_type: Annotated[
        str,
        typer.Option(
            metavar="TYPE",
            callback=utf8,
            help="Of the values of etcd and Consul, which do not know it; with application/json, those that are none fail.",
        ),
    ] = "application/octet-stream",
    failed: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help="Where lines go that cannot be imported. Default: FILE.failed.jsonl; of a dry run FILE.dry-run.failed.jsonl,"
            " which each one writes anew.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted import of the same file, if there is one.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and check all of it, and write nothing.")] = False,
    url: Url = LOCAL_URL,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Write the keys that FILE holds, and say what became of them.

    FILE is what `kvctl export` has written, `etcdctl get --prefix "" -w json` or `consul kv export`, plain or compressed with
    gzip or zstd: which of these is seen by its beginning. A time to live goes on from where it is; what has expired is left
    out. Lines that cannot be imported go to a file, as they were, with number and reason; it can be imported again. Exit
    code 1: there are some.

    \b
    kvctl import backup.jsonl.zst --keep-versions
    etcdctl get --prefix "" -w json | kvctl import - --prefix etcd/
    kvctl import backup.jsonl --resume
    """
    from kvcore.cli._meter import Meter
    from kvcore.transfer import PATIENT, Importer, ImportOptions, Patience, Source, Writer

    if file == "-" and resume:
        raise typer.BadParameter("stdin cannot be read again", param_hint="--resume")
    options = ImportOptions(prefix=prefix, keep_versions=keep_versions, media_type=media_type, dry_run=dry_run)
    beside = Path("stdin" if file == "-" else file)
    if failed is None and dry_run:  # a name of its own: no import shall wait until somebody has put it away
        failed = beside.with_name(beside.name + ".dry-run.failed.jsonl")
        failed.unlink(missing_ok=True)
    failed = failed or beside.with_name(beside.name + ".failed.jsonl")
    progress = None if file == "-" or dry_run else beside.with_name(beside.name + ".progress")
    patience = Patience()
    importer = None
    try:
        with ExitStack() as stack:
            source = stack.enter_context(Source(file))
            client = stack.enter_context(connected(url, token_file, retries=PATIENT, sleep=patience.sleep))
            if not dry_run:
                client.is_ready()  # is it a node at all? Else every line would fail for itself
            importer = Importer(source, options, failed, progress, resume=resume)
            meter = stack.enter_context(Meter("read", source.size_bytes))
            writer = Writer(None if dry_run else client, patience, keep_versions=keep_versions)
            summary = importer.run(
                writer, lambda so_far: meter.at(so_far.read, so_far.keys_per_s, source.position_bytes())
            )
    except BaseException:
        if importer is not None:
            note(_told(importer.summary, dry_run=dry_run))
            note("interrupted; --resume goes on from here" if progress else "interrupted")
        raise
    found = {"file": file, "failed_file": str(failed) if summary.failed else None, "summary": summary}
    show(found, _told(summary, dry_run=dry_run), as_json=as_json)
    if summary.failed:
        note(f"{summary.failed:,} lines were not imported; they and the reasons are in {failed}")
        raise typer.Exit(ExitCode.FAILED)


def _told(summary: ImportSummary, *, dry_run: bool) -> str:
    skipped = summary.skipped
    dropped = "".join(f", {count:,} {what} dropped" for what, count in summary.dropped.items())
    return (
        f"read {summary.read:,}: {'would write' if dry_run else 'wrote'} {summary.written:,}"
        f" ({summary.bytes / 1e6:,.1f} MB), skipped {skipped.expired:,} expired and {skipped.newer:,} older than the node's,"
        f" {summary.failed:,} failed{dropped}; {summary.seconds:,.1f} s, {summary.keys_per_s:,.0f} keys/s"
    )
