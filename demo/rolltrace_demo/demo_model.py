"""The model that ships with the package, trained on `training_text.txt` when first asked for.

In that file paragraphs are parted by empty lines; one that begins with `user: ` is a chat, a turn
a line. Chats are rendered with the worker's own template, so that what the model learns to end is
what it is asked to write. Prose ends as a turn does.
"""

from collections.abc import Iterator
from functools import cache
from importlib.resources import files

from rolltrace_demo.byte_tokens import IM_END, encode
from rolltrace_demo.chat_template import render
from rolltrace_demo.ngram_model import NgramModel
from rolltrace_demo.openai_requests import Message


@cache
def demo_model() -> NgramModel:
    """One model a process: it is read-only, and training it takes about a tenth of a second."""
    text = files("rolltrace_demo").joinpath("training_text.txt").read_text("utf-8")
    return NgramModel(list(training_ids(text)))


def training_ids(text: str) -> Iterator[int]:
    for paragraph in text.strip().split("\n\n"):
        if paragraph.startswith("user: "):
            yield from encode(render([_turn(line) for line in paragraph.splitlines()], generate=False))
        else:
            yield from (*encode(paragraph), IM_END)


def _turn(line: str) -> Message:
    role, _, content = line.partition(": ")
    return Message(role, content)
