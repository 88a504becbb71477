"""``labels.csv``, as spreadsheets and scripts write it: image classes, groups and folds by file name."""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FILENAME, CLASS, GROUP, FOLD = "filename", "class", "group", "fold"
COLUMNS = (FILENAME, CLASS, GROUP, FOLD)
DELIMITERS = ",;\t|"

_SYNONYMS = {
    FILENAME: (
        "file", "name", "image", "image name", "image file", "image filename", "image path", "img", "img name", "file path",
        "filepath", "path", "image id",
    ),
    CLASS: ("image class", "class name", "classname", "label", "labels", "image label", "category", "diagnosis", "target"),
    GROUP: (),
    FOLD: ("folds",),
}  # fmt: skip
"""What else the columns are called; a group is taken by its own name alone, since other columns may mean anything."""
_MAY_BE_GROUPS = (
    "patient",
    "patient id",
    "case",
    "case id",
    "subject",
    "subject id",
    "slide",
    "slide id",
    "well",
    "plate",
    "donor",
)
_NO_CLASS = {"nan", "na", "n/a", "none", "null", "unknown", "?", "-"}


@dataclass(frozen=True)
class Table:
    """The lines of a table.

    Parameters
    ----------
    name : str
        Of the file.
    rows : tuple of dict
        Column to value; the known columns by the names of :data:`COLUMNS`, all others by their own.
    lines : tuple of int
        The line of the file in which each row begins, from 1.
    facts, warnings : tuple of str
        How it was read, and what is odd about it.
    """

    name: str
    rows: tuple[dict[str, str], ...]
    lines: tuple[int, ...]
    facts: tuple[str, ...] = field(default=())
    warnings: tuple[str, ...] = field(default=())


def find_table(folder: Path) -> tuple[Path | None, list[str]]:
    """Return the table of a data folder, None where there is none, and what should be known of others like it.

    ``labels.csv`` counts; where it is not there, ``labels.tsv`` or ``labels.txt`` does, if it names files.
    """
    there = {file.name.casefold(): file for file in sorted(folder.iterdir(), reverse=True) if file.is_file()}
    found = [there[name] for name in ("labels.csv", "labels.tsv", "labels.txt") if name in there]
    found = [file for file in found if file.suffix.lower() != ".txt" or _names_files(file)]
    notes = [f"{file.name} is not read, since {found[0].name} is there" for file in found[1:]]
    notes += [f"{there[name].name} is not read: save it as labels.csv" for name in ("labels.xlsx", "labels.xls", "labels.ods")
              if name in there and not found]  # fmt: skip
    return (found[0] if found else None), notes


def read_table(path: Path) -> Table:
    """Read a table; commas, semicolons, tabs or bars between its columns, in any of the usual encodings.

    Raises
    ------
    ValueError
        If it has no column of file names, a line has more values than there are columns, or quotes are left open.
    """
    text, encoding = _decode(path)
    first, delimiter, lines = _lines(path, text)
    if not lines:
        raise ValueError(f"{path} is empty; its first line must name the columns: {','.join(COLUMNS)}")
    head, facts = _columns(path, [value.strip() for value in lines[0][1]], delimiter)
    rows, numbers = [], []
    for number, values in lines[1:]:
        values = [_tidy(value) for value in values]
        if any(values[len(head) :]):
            raise ValueError(
                f"line {number} of {path} has {len(values)} values, but there are {len(head)} columns "
                f"({', '.join(head)}): {first[number - 1].strip()!r}; put quotes around a value that holds a {_WORDS[delimiter]}"
            )
        row = dict(zip(head, values, strict=False))
        if FOLD in row:
            row[FOLD] = re.sub(r"(?<=\d)\.0+$", "", row[FOLD])  # spreadsheets turn numbers with gaps among them to 0.0, 1.0
        if row.get(FILENAME):
            rows.append(row)
            numbers.append(number)
        elif any(values):
            raise ValueError(f"line {number} of {path} names no file ({first[number - 1].strip()!r}); complete it or take it out")
    if delimiter != ",":
        facts.append(f"{path.name} has a {_WORDS[delimiter]} between its columns")
    warnings = list(_odd(path.name, head, rows))
    if encoding not in ("utf-8", "utf-16"):
        warnings.append(f"{path.name} is not in UTF-8; it was read as {encoding}: check the letters with accents in its names")
    return Table(path.name, tuple(rows), tuple(numbers), tuple(facts), tuple(warnings))


_WORDS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


def _decode(path: Path) -> tuple[str, str]:
    """Return a file's text and its encoding."""
    content = path.read_bytes()
    for mark, encoding in ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if content.startswith(mark):
            content = content[len(mark) :] if encoding == "utf-8" else content
            break
    else:
        encoding = "utf-8"
        zeros = content[:200].count(0)
        if zeros > len(content[:200]) // 4:  # of UTF-16 without a mark every second byte of plain letters is zero
            encoding = "utf-16-le" if content[1:2] == b"\0" else "utf-16-be"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise ValueError(f"{path} cannot be read as text ({error}); save it as CSV in UTF-8") from error
        try:
            text, encoding = content.decode("cp1252"), "Windows-1252"
        except UnicodeDecodeError:
            text, encoding = content.decode("latin-1"), "Latin-1"
    if "\0" in text:
        raise ValueError(f"{path} holds zero bytes and is no table of text; save it as CSV in UTF-8")
    return text, encoding.removesuffix("-le").removesuffix("-be")


def _lines(path: Path, text: str) -> tuple[list[str], str, list[tuple[int, list[str]]]]:
    """Return the plain lines, the delimiter, and the lines that hold something, with their numbers."""
    plain = text.splitlines()
    start = next((number for number, line in enumerate(plain) if line.strip()), 0)
    told = re.fullmatch(r"sep=(.)", plain[start].strip("\r\n ")) if plain else None  # what Excel writes and reads
    if told:
        start += 1
    head = plain[start] if start < len(plain) else ""
    delimiter = told[1] if told else max(DELIMITERS, key=lambda sign: (_known(_split(head, sign)), len(_split(head, sign))))
    if delimiter not in _WORDS:
        raise ValueError(f"{path} says that {delimiter!r} separates its columns; known are a comma, semicolon, tab and bar")
    reader = csv.reader(
        io.StringIO("\n".join(plain[start:]), newline=""), delimiter=delimiter, skipinitialspace=True, strict=True
    )
    found = []
    before = start
    try:
        for values in reader:
            if any(map(_tidy, values)):
                found.append((before + 1, values))
            before = start + reader.line_num
    except csv.Error as error:
        raise ValueError(
            f"line {before + 1} of {path} cannot be read ({error}); a quote is left open, or stands inside a value: write "
            'a quote inside quotes as ""'
        ) from error
    return plain, delimiter, found


def _split(head: str, delimiter: str) -> list[str]:
    return next(csv.reader([head], delimiter=delimiter, skipinitialspace=True), [])


def _tidy(value: str) -> str:
    """Return a value in Unicode's composed form, without what cannot be seen at its ends."""
    return unicodedata.normalize("NFC", value).strip().strip("\ufeff\u200b\u200e\u200f").strip()


def _plain(column: str) -> str:
    return re.sub(r"[\s_\-]+", " ", _tidy(column).casefold()).strip()


def _meaning(column: str) -> str | None:
    plain = _plain(column)
    if plain.replace(" ", "") == FILENAME:
        return FILENAME
    return next((name for name, others in _SYNONYMS.items() if plain == name or plain in others), None)


def _known(columns: Sequence[str]) -> int:
    return len({_meaning(column) for column in columns} - {None})


def _names_files(path: Path) -> bool:
    """Return whether the first line of a text file is the head of a table of file names."""
    head = _decode(path)[0].lstrip().partition("\n")[0]
    return any(FILENAME in map(_meaning, _split(head, sign)) and len(_split(head, sign)) > 1 for sign in DELIMITERS)


def _columns(path: Path, head: Sequence[str], delimiter: str) -> tuple[list[str], list[str]]:
    """Return what each column is, and in words which were taken for what."""
    while head and not head[-1]:  # a spreadsheet's empty columns
        head = head[:-1]
    columns, facts = list(head), []
    for name in COLUMNS:
        exact = [place for place, column in enumerate(head) if _plain(column).replace(" ", "") == name]
        alike = [place for place, column in enumerate(head) if _meaning(column) == name]
        found = exact or alike
        if len(found) > 1:
            listed = " and ".join(head[place] for place in found)
            raise ValueError(f"{path} has the columns {listed}, each of which may be the {name}; call the one that counts {name}")
        if not found:
            continue
        columns[found[0]] = name
        if not exact:
            facts.append(f"the column {head[found[0]]} of {path.name} is taken as the {name}")
    if FILENAME not in columns:
        raise ValueError(
            f"{path} has no column filename (its first line: {delimiter.join(head)[:200]}); that line must name the columns: "
            "filename,class[,group][,fold]"
        )
    if twice := [name for name, count in Counter(columns).items() if name and count > 1]:
        raise ValueError(f"{path} has two columns {twice[0]}; keep one, or rename it")
    return columns, facts


def _odd(name: str, columns: Sequence[str], rows: Sequence[dict[str, str]]) -> Iterator[str]:
    groups = [column for column in columns if _plain(column).removesuffix(" id") in _MAY_BE_GROUPS]
    if groups and GROUP not in columns:
        yield (
            f"{name} has no column group, but a column {groups[0]}, which is ignored: where images of one {groups[0]} must not "
            "lie on both sides of a split, call it group"
        )
    yield from odd_classes(row.get(CLASS, "") for row in rows)


def odd_classes(classes: Iterable[str]) -> Iterator[str]:
    """Say of image classes which hardly differ, and which may mean that the class is unknown."""
    alike: dict[str, set[str]] = defaultdict(set)
    counts = Counter(one for one in classes if one)
    for one in counts:
        alike[re.sub(r"[\s_\-]+", " ", one.casefold()).strip()].add(one)
    for names in alike.values():
        if len(names) > 1:
            listed = " and ".join(f"{one} ({counts[one]})" for one in sorted(names))
            yield f"the image classes {listed} differ in capitals or separators alone; if they are one class, write them alike"
    if vague := sorted(one for one in counts if one.casefold() in _NO_CLASS):
        yield f"the image class {', '.join(vague)} counts as a class; where it means that the class is unknown, leave it empty"
