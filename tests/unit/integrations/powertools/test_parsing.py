"""The parser's cache while models come and go."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from aws_lambda_powertools.shared.cache_dict import LRUDict
from aws_lambda_powertools.utilities.parser import functions, parse
from pydantic import TypeAdapter, create_model

from lmi_runtime.integrations.safety import make_safe
from tests.support.crowd import TaskCrowd, ThreadCrowd
from tests.support.patience import PATIENCE_S

make_safe()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> LRUDict:
    cache = LRUDict(max_items=2)
    monkeypatch.setattr(functions, "CACHE_TYPE_ADAPTER", cache)
    return cache


def models(count: int) -> list[Any]:
    return [create_model(f"Model{each}", n=(int, ...)) for each in range(count)]


def test_more_models_than_the_cache_holds(small: LRUDict) -> None:
    crowd = ThreadCrowd()
    kinds = models(crowd.count)

    def serve(number: int) -> Any:
        crowd.meet()
        for each in (*kinds[number:], *kinds[:number]):
            assert type(parse({"n": number}, each)) is each
        return parse({"n": number}, kinds[number]).n

    assert crowd.serve(serve) == list(range(crowd.count))
    assert len(small) == 2


def test_the_model_is_dropped_while_it_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    [mine, others] = models(2)

    class Dropping(LRUDict):
        """Another thread asks for another model, right after this one was found."""

        def __contains__(self, key: object) -> bool:
            found = super().__contains__(key)
            if key == id(mine) and found:
                thread = threading.Thread(target=parse, args=({"n": 1}, others))
                thread.start()
                thread.join(0.2)
                self.threads.append(thread)
            return found

        threads: list[threading.Thread] = []  # noqa: RUF012

    monkeypatch.setattr(functions, "CACHE_TYPE_ADAPTER", Dropping(max_items=1))
    parse({"n": 1}, mine)
    assert type(parse({"n": 1}, mine)) is mine
    for thread in Dropping.threads:
        thread.join(PATIENCE_S)


def test_first_one_made_is_kept(small: LRUDict) -> None:
    [kind] = models(1)
    crowd = ThreadCrowd()

    def serve(number: int) -> Any:
        crowd.meet()
        return functions._retrieve_or_set_model_from_cache(kind)

    adapters = crowd.serve(serve)
    assert len({id(each) for each in adapters}) == 1


def test_adapters_and_tasks(small: LRUDict) -> None:
    crowd = TaskCrowd()
    adapter: Any = TypeAdapter(dict[str, int])

    async def serve(number: int) -> Any:
        await crowd.meet()
        return parse({"n": number}, adapter)

    assert crowd.serve(serve) == [{"n": n} for n in range(crowd.count)]
    assert functions._retrieve_or_set_model_from_cache(adapter) is adapter
