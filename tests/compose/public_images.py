"""The public images that deploy/compose names, and stand-ins for them where none can be pulled."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.compose.engine import Engine

__all__ = ("make_stand_ins",)

_STAND_INS = Path(__file__).parent / "stand_ins"
_DEBIAN = "kvcore-stand-in/debian:bookworm"
_OWN_AUTHORITIES = Path("usr/local/share/ca-certificates")


def make_stand_ins(engine: Engine, images: list[str], folder: Path) -> None:
    """Give an engine an image by each name, such as "prom/prometheus:v2.55.1", from Debian's package of the same server.

    Takes two minutes. `folder` is for what is needed meanwhile.

    Raises:
        subprocess.CalledProcessError: a package cannot be had, say; standard error has why.
    """
    _import_debian(engine, folder / "debian")
    for image in images:
        target = image.rpartition(":")[0].rpartition("/")[2]
        engine.docker("build", "--quiet", f"--target={target}", f"--tag={image}", str(_STAND_INS))


def _import_debian(engine: Engine, root: Path) -> None:
    """Make the smallest Debian, with the authorities that this machine trusts besides: a proxy's, say."""
    subprocess.run(
        ["debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", str(root), *_mirrors()[:1]],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    for certificate in (Path("/") / _OWN_AUTHORITIES).glob("*.crt"):
        shutil.copy(certificate, root / _OWN_AUTHORITIES)
    subprocess.run(["chroot", str(root), "update-ca-certificates"], check=True, capture_output=True)
    archive = root.with_suffix(".tar")
    subprocess.run(["tar", "--create", f"--file={archive}", f"--directory={root}", "."], check=True)
    shutil.rmtree(root)
    engine.docker("import", str(archive), _DEBIAN)
    archive.unlink()


def _mirrors() -> list[str]:
    """Return where this machine has its own packages from; where that is not told, debootstrap knows one."""
    files = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d/debian.sources"))
    text = "\n".join(file.read_text() for file in files if file.exists())
    return re.findall(r"^(?:URIs:|deb(?: \[[^]]*\])?) *(\S+)", text, re.MULTILINE)
