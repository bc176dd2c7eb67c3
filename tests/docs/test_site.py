"""The site builds without a warning, has every page, and fetches nothing from anybody."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import DOCS, REPOSITORY, all_blocks
from tests.support.patience import PATIENCE_S

# What a browser fetches by itself: links for people may lead anywhere.
_LOADED = re.compile(
    r"""<(?:script|img|iframe|source)[^>]*?src=["'](?:https?:)?//"""
    r"""|@import\s+(?:url\()?["']?(?:https?:)?//"""
    r"""|<link[^>]*rel=["'](?:stylesheet|preconnect|preload|icon)["'][^>]*href=["'](?:https?:)?//"""
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    pytest.importorskip("mkdocs", reason="not run: mkdocs is not installed")
    pytest.importorskip("mkdocstrings", reason="not run: mkdocstrings is not installed")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"),
            *("--config-file", str(DOCS / "mkdocs.yml"), "--site-dir", str(folder)),
        ],
        # From elsewhere: the configuration may not rest on the folder it is called in.
        cwd=folder,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == ""
    return folder


@pytest.mark.slow
def test_site_has_every_page_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    sources = list((DOCS / "pages").glob("*.md"))

    # 404.html has no source.
    assert len(pages) == len(sources) + 1
    foreign = {p.name: m.group() for p in pages if (m := _LOADED.search(p.read_text()))}
    assert foreign == {}


def test_every_page_is_in_the_navigation() -> None:
    configuration = (DOCS / "mkdocs.yml").read_text()

    missing = [
        p.name for p in (DOCS / "pages").glob("*.md") if f": {p.name}\n" not in configuration
    ]

    assert missing == []


def test_yaml_of_the_pages_is_yaml() -> None:
    yaml = pytest.importorskip("yaml", reason="not run: PyYAML is not installed")

    class Loader(yaml.SafeLoader):  # type: ignore[name-defined, misc]
        """Knows CloudFormation's short functions."""

    Loader.add_multi_constructor("!", lambda loader, suffix, node: f"!{suffix} {node.value}")
    documents = [b for b in all_blocks() if b.language == "yaml"]

    assert documents
    for block in documents:
        assert isinstance(yaml.load(block.text, Loader), dict), str(block)


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://cdn.example/x.js">',
        '<link rel="stylesheet" href="https://fonts.example/css">',
        '<img alt="" src="//badges.example/x.svg">',
    ],
)
def test_what_is_loaded_from_elsewhere_is_seen(html: str) -> None:
    assert _LOADED.search(html)


def test_links_of_the_readme_lead_somewhere() -> None:
    text = (REPOSITORY / "README.md").read_text()
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", text)

    assert [target for target in targets if not (REPOSITORY / target).exists()] == []
