"""The documentation: short sentences, links that lead somewhere, commands that exist and code that runs."""

from __future__ import annotations

import ast
import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

import napari_resformer as nr
from napari_resformer.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
RUNNABLE = [ROOT / "README.md", ROOT / "docs" / "python.md"]
MOST_WORDS = 30
COMMANDS = ("demo", "predict", "train", "evaluate", "models list", "models info", "models download")
QUICK = {"epochs=40": "epochs=1", "crop_size=192": "crop_size=64"}
"""What the examples are run with instead, so that a test takes seconds."""

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


# ---------------------------------------------------------------------------------------------------------------- words
def blocks(text: str) -> Iterator[str]:
    """Yield each paragraph, heading, list item and table cell of a page as one line, without code blocks."""
    text = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)
    paragraph: list[str] = []
    for line in [*text.splitlines(), ""]:
        words = line.strip()
        starts = re.match(r"([-*]|\d+\.) |#+ ", words)
        if (not words or starts or words.startswith(("|", "!["))) and paragraph:
            yield " ".join(paragraph)
            paragraph = []
        if words and not words.startswith(("|", "![")):
            paragraph.append(words[starts.end() :] if starts else words)
            if words.startswith("#"):
                yield paragraph.pop()


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a page outside of code and tables; code within a sentence counts as one word."""
    for block in blocks(text):
        plain = re.sub(r"`[^`]*`", "code", block)
        plain = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", plain)
        plain = re.sub(r"[*_]{1,2}(\S(?:.*?\S)?)[*_]{1,2}", r"\1", plain)
        yield from re.split(r"(?<=[.!?])[)\"']*\s+(?=[(\"'\w])", plain)


def word_count(sentence: str) -> int:
    return sum(any(letter.isalnum() for letter in word) for word in sentence.split())


@pages
def test_no_sentence_is_long(page: Path) -> None:
    found = list(sentences(page.read_text(encoding="utf-8")))
    assert len(found) > 5
    assert [f"{word_count(one)} words: {one}" for one in found if word_count(one) > MOST_WORDS] == []


def test_long_sentences_are_seen() -> None:
    long = "word " * 31 + "."
    text = f"# Title\n\nShort one. {long} `a b c` ends.\n\n- item\n  {long}\n\n```\n{long}\n```\n\n| {long} |\n"
    assert [word_count(one) > MOST_WORDS for one in sentences(text)] == [False, False, True, False, True]


# ---------------------------------------------------------------------------------------------------------------- links
def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page: Path) -> list[str]:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue  # another site; tests need no network
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)
    return broken


@pages
def test_relative_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_broken_links_are_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A title\n[a](#a-title) [b](page.md#no) [c](none.md) ![d](none.png) [e](https://x.org)")
    assert broken_links(page) == ["page.md#no", "none.md", "none.png"]


# --------------------------------------------------------------------------------------------------------- command line
@cache
def usage(command: str) -> frozenset[str]:
    """Return the options of a command, as its own help gives them."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    synopsis = output.getvalue().partition("\n\n")[0]
    return frozenset(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", synopsis)) | {"--help"}


def command_lines(text: str) -> Iterator[str]:
    """Yield each call of the program in code blocks and in code within sentences."""
    for block in re.findall(r"^ *```(?:sh)?\n(.*?)^ *```$", text, flags=re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            if found := re.search(r"(?:^|\s)napari-resformer ([\w-].*)", line.partition(" #")[0]):
                yield found[1]
    outside = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)
    yield from re.findall(r"`napari-resformer ([^`]*)`", outside)


def unknown_options(call: str) -> list[str]:
    words = shlex.split(call)
    command = next((name for name in COMMANDS if words[: len(name.split())] == name.split()), None)
    if command is None:
        return [] if words[:1] in (["COMMAND"], ["models"]) or words == ["--version"] else [call]
    given = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    return [f"{command} {option}" for option in given if option not in usage(command)]


@pages
def test_commands_exist(page: Path) -> None:
    calls = list(command_lines(page.read_text(encoding="utf-8")))
    assert [fault for call in calls for fault in unknown_options(call)] == []


def test_unknown_options_are_seen() -> None:
    assert unknown_options("predict a.tif --model nuclei -o out --zoom 0.5") == []
    assert unknown_options("predict a.tif --magnify 2") == ["predict --magnify"]
    assert unknown_options("segment a.tif") == ["segment a.tif"]


def test_options_of_the_command_line_page_exist() -> None:
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    page = re.sub(r"^( *)```.*?^\1```$", "", page, flags=re.DOTALL | re.MULTILINE)
    general, *parts = re.split(r"^## ", page, flags=re.MULTILINE)
    everywhere = frozenset().union(*map(usage, COMMANDS))
    checked = 0
    for title, part in [("", general), *(part.split("\n", 1) for part in parts)]:
        known = frozenset().union(*(usage(name) for name in COMMANDS if name.startswith(title.strip()))) or everywhere
        for code in re.findall(r"`([^`]*)`", part):
            if code.startswith("napari-resformer"):
                continue  # a whole command, tested above
            for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", code):
                checked += 1
                assert option in known, f"{title.strip() or 'introduction'}: {option}"
    assert checked > 20


# --------------------------------------------------------------------------------------------------------------- Python
def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def write_example(folder: Path) -> None:
    """Write what the examples read: an image, a stack, a folder of images, a data folder with folds."""
    generator = np.random.default_rng(0)
    imageio.imwrite(folder / "image.tif", generator.integers(0, 255, (96, 120), dtype=np.uint8))
    np.save(folder / "stack.npy", generator.integers(0, 255, (5, 64, 80), dtype=np.uint8))
    (folder / "images").mkdir()
    for name in ("a.png", "b.png"):
        imageio.imwrite(folder / "images" / name, generator.integers(0, 255, (64, 64), dtype=np.uint8))
    for part in ("images", "masks"):
        (folder / "data" / part).mkdir(parents=True)
    lines = ["filename,class,fold"]
    for number in range(20):
        image = generator.integers(0, 40, (64, 64), dtype=np.uint8)
        mask = np.zeros((64, 64), np.uint8)
        top, left = generator.integers(4, 34, 2)
        mask[top : top + 24, left : left + 24] = 1
        image[mask > 0] = 120 + 100 * (number % 2)
        for part, content in (("images", image), ("masks", mask)):
            imageio.imwrite(folder / "data" / part / f"{number}.png", content)
        lines.append(f"{number}.png,{('dim', 'bright')[number % 2]},{number // 4}")
    (folder / "data" / "labels.csv").write_text("\n".join(lines), encoding="utf-8")


@pytest.mark.filterwarnings("ignore::UserWarning:__main__")
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: page.name)
def test_python_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_example(tmp_path)
    code = python_blocks(page)
    assert code
    names = {"__name__": "__main__"}
    for number, block in enumerate(code, start=1):
        for slow, quick in QUICK.items():
            block = block.replace(slow, quick)
        exec(compile(block, f"{page.name}, block {number}", "exec"), names)


@pages
def test_names_in_python_examples_exist(page: Path) -> None:
    """Blocks that need a viewer or a long training are not run; what they import must be there all the same."""
    for block in python_blocks(page):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("napari_resformer"):
                for alias in node.names:
                    assert hasattr(import_module(node.module or ""), alias.name), f"{node.module}.{alias.name}"
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "nr":
                assert hasattr(nr, node.attr), f"nr.{node.attr}"


def test_all_commands_are_known_here() -> None:
    output = io.StringIO()
    with contextlib.redirect_stdout(output), pytest.raises(SystemExit):
        main(["--help"])
    listed = re.findall(r"^    ([a-z]+) ", output.getvalue(), flags=re.MULTILINE)
    assert set(listed) == {name.split()[0] for name in COMMANDS}
