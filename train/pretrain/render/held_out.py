"""Which tables and questions may not be drawn: those of a data set's held-out splits, and what its train split has."""

from dataclasses import dataclass
from pathlib import Path

from train.pretrain.render.given import Asked, RenderError
from train.pretrain.render.parsing import squeeze


@dataclass(frozen=True)
class Known:
    """held: questions of val and test; pictures: names of their charts; train: questions and answers of train."""

    held: frozenset[str]
    pictures: frozenset[str]
    train: frozenset[tuple[str, str]]

    def is_held_out(self, asked: list[Asked]) -> bool:
        """Whether the table is one of val or test: by its picture's name or by a question's words alone, since most
        rows' pictures have no name."""
        return Path(asked[0].picture).stem in self.pictures or any(key(one.query) in self.held for one in asked)

    def is_trained(self, one: Asked) -> bool:
        """Whether the train split has the question with its answer: the mixture shows it with its own picture."""
        return told(one.query, one.label) in self.train


def key(query: str) -> str:
    """A question to compare with others."""
    return query.strip().lower()


def told(query: str, label: str) -> tuple[str, str]:
    """A question with its answer, without spelling."""
    return squeeze(query), squeeze(str(label))


def known_questions(dataset: Path) -> Known:
    """The questions of a folder in ChartQA's layout: data/SPLIT-*.parquet with image, query and label.

    Raises RenderError for a folder without them: nothing would be held out.
    """
    import pyarrow  # large, and --help needs none of it
    from pyarrow import parquet

    held, train, pictures = set[str](), set[tuple[str, str]](), set[str]()
    for file in sorted((dataset / "data").glob("*.parquet")):
        try:
            found = parquet.read_table(file, columns=["query", "label"]).to_pylist()
            if file.name.startswith("train"):
                train.update(told(row["query"], row["label"][0]) for row in found)
                continue
            held.update(key(row["query"]) for row in found)
            images = parquet.read_table(file, columns=["image"])["image"].combine_chunks()
            pictures.update(Path(path).stem for path in images.field("path").to_pylist() if path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, pyarrow.ArrowException) as error:
            raise RenderError(f"{file} is no split of ChartQA's layout (image, query, label).") from error
    if not held:
        raise RenderError(
            f"{dataset} has no held-out rows (data/val-*.parquet, data/test-*.parquet): --without needs a folder in "
            "ChartQA's layout, so that none of its val and test tables is drawn."
        )
    return Known(frozenset(held), frozenset(pictures), frozenset(train))
