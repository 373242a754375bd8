"""How walks are compared. What they are compared with is in test_conformance.py."""

from __future__ import annotations

from tests.rllm.compare import ABSENT, Json, Place, places
from tests.rllm.differences import DIFFERENCES


def steps(**saw: Json) -> list[dict[str, Json]]:
    return [{"step": name, "saw": value} for name, value in saw.items()]


def differing(theirs: Json, ours: Json) -> list[Place]:
    return places(steps(s={"returned": theirs}), steps(s={"returned": ours}))


def test_what_is_equal_does_not_differ() -> None:
    value: Json = {"a": [1, {"b": None}], "c": "x"}
    assert differing(value, value) == []


def test_each_place_is_named() -> None:
    assert differing({"a": [1, 2], "b": 1}, {"a": [3, 2], "c": 1}) == [
        Place("s: returned.a.each", 1, 3),
        Place("s: returned.b", 1, ABSENT),
        Place("s: returned.c", ABSENT, 1),
    ]


def test_types_and_lengths_differ_too() -> None:
    assert [place.ours for place in differing([1, 0, 1, None], [1.0, False, "1", 0])] == [1.0, False, "1", 0]
    assert differing([1], [1, 2]) == [Place("s: returned", [1], [1, 2])]


def test_an_error_in_place_of_an_answer_is_one_place() -> None:
    error: dict[str, Json] = {"raised": "HTTPStatusError", "status": 400, "body": {"error": "no"}}
    assert places(steps(s={"returned": {"a": 1}}), steps(s=error)) == [
        Place("s: outcome", {"returned": {"a": 1}}, error)
    ]
    assert places(steps(s=error), steps(s={**error, "status": 404})) == [Place("s: status", 400, 404)]


def test_a_difference_covers_what_it_says_and_no_more() -> None:
    (close,) = [each for each in DIFFERENCES if each.where == ("*.logprobs.each",)]
    where = "GatewayClient: get_trace, of a call: returned.logprobs.each"
    assert close.covers(Place(where, -1.0986139631, -1.0986139774))
    assert not close.covers(Place(where, -1.0986, -1.0987))
    assert not close.covers(Place("GatewayClient: get_trace, of a call: returned.model", -1.0, -1.0))


def test_every_difference_says_what_is_done_and_why() -> None:
    for each in DIFFERENCES:
        assert each.where
        assert all((each.theirs, each.ours, each.why))
