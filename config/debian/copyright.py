"""Prints debian/copyright: copyright.py FOLDER names the licence of each package that was installed into it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

OWN = "consul-redis-agent"
INSTALLED = Path("/usr/lib", OWN)
LICENCE = Path(__file__).parents[2] / "LICENSE"


def main(folder: Path) -> None:
    """Print the file."""
    found = sorted(distributions(path=[str(folder)]), key=lambda package: package.name.lower())
    stanzas = [_head(), *(_beside(folder, package) for package in found if package.name != OWN)]
    sys.stdout.write("\n".join(stanzas))


def _head() -> str:
    _, holder, text = LICENCE.read_text().split("\n\n", 2)
    body = "".join(f" {line or '.'}\n" for line in text.strip().splitlines())
    return (
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
        f"Upstream-Name: {OWN}\n\n"
        f"Files: *\nCopyright: {holder.removeprefix('Copyright (c) ')}\nLicense: Expat\n{body}"
    )


def _beside(folder: Path, package: Distribution) -> str:
    texts = list(_texts(folder, package))
    holders = re.findall(
        r"^\s*(?:Copyright|©) +((?:\(c\)|©|\d{4}).*\S)", "\n".join(p.read_text() for p in texts), re.MULTILINE
    )
    joined = "\n ".join(dict.fromkeys(holders))
    author = package.metadata["Author"] or package.metadata["Author-email"] or f"the authors of {package.name}"
    where = "".join(f" {INSTALLED / path.relative_to(folder)}\n" for path in texts)
    return (
        f"Files: {(INSTALLED / package.name.replace('-', '_')).relative_to('/')}*\n"
        f"Copyright: {joined or author}\n"
        f"License: {_name(package)}\n {package.name} {package.version}; the whole text is in\n{where}"
    )


def _texts(folder: Path, package: Distribution) -> Iterator[Path]:
    """The files of its licence."""
    pattern = f"{re.sub('[-_.]+', '_', package.name)}-{package.version}.dist-info"
    (info,) = (path for path in folder.glob("*.dist-info") if path.name.lower() == pattern.lower())
    yield from (
        path
        for path in sorted(info.rglob("*"))
        if re.match(r"licen|notice|copying", path.name, re.IGNORECASE) and path.is_file()
    )


def _name(package: Distribution) -> str:
    """The licence's short name, as the package states it."""
    about = package.metadata
    classes = [text.rpartition(" :: ")[2] for text in about.get_all("Classifier", []) if text.startswith("License ::")]
    return re.sub(r"[^\w.+]+", "-", about["License-Expression"] or about["License"] or classes[0]).strip("-")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
