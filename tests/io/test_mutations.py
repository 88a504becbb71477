"""Damaged files: each is an answer or one sentence; the benchmark of this name does the same by the thousand."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "benchmarks" / "mutations.py"
SEEDS = range(4)


@pytest.fixture(scope="module")
def mutations() -> Any:
    if not PROGRAM.exists():
        pytest.skip("the benchmarks are not there")
    spec = importlib.util.spec_from_file_location("mutations", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def originals(mutations: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return list(mutations.originals(tmp_path_factory.mktemp("valid")))


def test_the_files_are_valid_to_begin_with(mutations: Any, originals: list[Path], random_model: Any) -> None:
    assert len(originals) > 35
    for path in originals:
        assert mutations.answer(path, random_model)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.filterwarnings("ignore")  # of libraries, while damaged pixels are decoded
def test_a_damaged_file_is_an_answer_or_a_sentence(
    mutations: Any, originals: list[Path], random_model: Any, tmp_path: Path, seed: int
) -> None:
    answers, sentences = 0, []
    for number in range(len(originals)):
        path = mutations.mutate(originals, number, seed, tmp_path)
        try:
            mutations.answer(path, random_model)
            answers += 1
        except (ValueError, TypeError, OSError, MemoryError) as error:
            sentences.append(str(error).strip())
    assert all(sentences)
    assert min(answers, len(sentences)) > 5  # the damage is neither harmless nor deadly throughout
