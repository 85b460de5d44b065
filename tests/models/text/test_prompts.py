"""Prompts are read whole and in their order, and a file that has not one for each image is refused."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from models.cards.prompts_card import PromptsChoice
from models.common.errors import UsageError
from models.text.prompts import Prompts, read_prompts


def read(folder: Path, name: str, content: bytes | str, **choice: Any) -> Prompts:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_prompts(PromptsChoice(file=str(path), **choice))


@pytest.mark.parametrize(
    ("name", "content", "choice"),
    [
        ("p.txt", "a cat\n ein Hündchen\nx, y\n", {}),
        ("p.txt", "a cat\r\n ein Hündchen\r\nx, y", {}),
        ("p.prompts", b"\xef\xbb\xbfa cat\n ein H\xc3\xbcndchen\nx, y\n\n \n", {"count": 3}),
        ("p.csv", 'prompt\na cat\n ein Hündchen\n"x, y"\n', {}),
        ("p.csv", 'id,Caption,url\n1,a cat,u\n2, ein Hündchen,\n3,"x, y",u\n\n', {}),
        ("p.CSV", 'id,what\n1,a cat\n2, ein Hündchen\n3,"x, y"\n', {"column": "what"}),
        ("p.tsv", "prompt\tcaption\na cat\t1\n ein Hündchen\t2\nx, y\t3\n", {"column": "prompt"}),
    ],
)
def test_prompts_are_read_as_they_stand(tmp_path: Path, name: str, content: Any, choice: dict[str, Any]) -> None:
    assert read(tmp_path, name, content, **choice).texts == ("a cat", " ein Hündchen", "x, y")


@pytest.mark.parametrize(
    ("name", "content", "choice", "said"),
    [
        ("p.txt", "", {}, "has no prompts; expected one at least"),
        ("p.txt", "\n \n", {}, "has no prompts"),
        ("p.txt", "a\n\nb\n", {}, "line 2 is blank, and image 1 would have no prompt"),
        ("p.txt", "a\nb\n", {"count": 3}, "has 2 prompts, but count = 3: another file, or cut short"),
        ("p.txt", "a\nb\n", {"column": "prompt"}, "one prompt a line, which has no column 'prompt'"),
        ("p.txt", b"a\x00b\n", {}, "holds a NUL byte, in line 1"),
        ("p.txt", "a\nb".encode("utf-16"), {}, "byte order mark .BOM. of UTF-16; save it as UTF-8"),
        ("p.txt", "a\nH\xfcndchen".encode("latin-1"), {}, "is not in UTF-8: byte 0xfc in line 2"),
        ("p.csv", "", {}, "has no prompts"),
        ("p.csv", "prompt\n", {}, "has no prompts"),
        ("p.csv", "prompt,id\na,1\n,2\n", {}, "line 3 has no 'prompt', and image 1 would have no prompt"),
        ("p.csv", "prompt\na\n\nb\n", {}, "line 3 has no 'prompt'"),
        (
            "p.csv",
            "prompt,id\na cat, asleep,1\n",
            {},
            "line 2 has 3 cells, but the table 2 columns; a prompt with a sep",
        ),
        ("p.csv", "text,id\na,1\n", {}, "has the columns 'text', 'id': say which has the prompts"),
        ("p.csv", "prompt,caption\na,1\n", {}, "has the columns 'prompt', 'caption': say which"),
        ("p.csv", "prompt,id\na,1\n", {"column": "promt"}, "promt.*prompt.*id|id.*prompt"),
        ("p.csv", "prompt,prompt\na,b\n", {"column": "prompt"}, "has 2 columns called 'prompt'; rename them"),
        ("p.csv", 'prompt\n"a\n', {}, "cannot be read as a table: "),
    ],
)
def test_a_file_without_a_prompt_for_each_image_is_refused(
    tmp_path: Path, name: str, content: Any, choice: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        read(tmp_path, name, content, **choice)
    assert str(tmp_path / name) in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no file of prompts '.*coco\.csv'"):
        read_prompts(PromptsChoice(file=str(tmp_path / "coco.csv")))
    with pytest.raises(UsageError, match="cannot read the prompts"):
        read_prompts(PromptsChoice(file=str(tmp_path)))


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "p.txt").write_text("a\n")
    assert read_prompts(PromptsChoice(file="~/p.txt")).texts == ("a",)


def test_the_hash_is_of_texts_their_order_and_the_negative_prompt() -> None:
    found = {
        Prompts(("a", "b")).sha256,
        Prompts(("b", "a")).sha256,
        Prompts(("a", "b"), "c").sha256,
        Prompts(("a", "b", "")).sha256,
        Prompts(("a, b",)).sha256,
    }
    assert len(found) == 5
    assert Prompts(("a", "b"), "c").sha256 == Prompts(("a", "b"), "c").sha256


@pytest.mark.parametrize("wrong", [{"count": 0}, {"tokens": 513}, {"file": ""}, {"colum": "x"}, {"count": 2.0}])
def test_a_choice_that_is_none_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PromptsChoice.model_validate({"file": "p.txt"} | wrong)
