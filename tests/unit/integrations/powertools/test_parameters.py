"""Parameters: one fetch for many, values of one's own, and no blocked event loops."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import pytest

pytest.importorskip("aws_lambda_powertools")

from aws_lambda_powertools.utilities import parameters
from aws_lambda_powertools.utilities.parameters import appconfig, constants, ssm
from aws_lambda_powertools.utilities.parameters.base import BaseProvider
from aws_lambda_powertools.utilities.parameters.exceptions import (
    GetParameterError,
    TransformParameterError,
)

from lmi_runtime import context
from lmi_runtime.integrations import make_safe
from lmi_runtime.integrations.powertools import parameters as ours
from lmi_runtime.integrations.powertools.fetches import fetches
from lmi_runtime.integrations.powertools.parameters import off_loop
from tests.support.crowd import COUNT, TaskCrowd, ThreadCrowd, request_of
from tests.support.patience import PATIENCE_S
from tests.support.requests import serving


@pytest.fixture(autouse=True, scope="module")
def _safe() -> None:
    make_safe()


class Counting(BaseProvider):  # type: ignore[misc]
    """Answers with what the test says, and knows how often and where it was asked."""

    def __init__(self, answer: Any = '{"items": [1]}') -> None:
        super().__init__()
        self.answer = answer
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.threads: set[int] = set()
        self.meanwhile: Callable[[], object] = lambda: None

    def _get(self, name: str, **sdk_options: Any) -> Any:
        self.asked.append((name, sdk_options))
        self.threads.add(threading.get_ident())
        answer = self.answer
        self.meanwhile()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _get_multiple(self, path: str, **sdk_options: Any) -> dict[str, Any]:
        return {"a": self._get(path, **sdk_options), "b": "{}"}


class Gate:
    """Holds who is inside until it is opened."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._opened = threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self._opened.wait(PATIENCE_S)

    def open(self) -> None:
        self._opened.set()


@pytest.fixture
def provider() -> Counting:
    return Counting()


@pytest.fixture(autouse=True)
def _no_default_providers() -> Iterator[None]:
    parameters.clear_caches()
    yield
    parameters.clear_caches()


GETTERS: list[Any] = [
    pytest.param(lambda provider, **options: provider.get("x", **options), id="get"),
    pytest.param(
        lambda provider, **options: provider.get_multiple("x", **options), id="get_multiple"
    ),
]


class TestOneFetch:
    @pytest.mark.parametrize("get", GETTERS)
    def test_threads_that_miss_at_once(self, get: Callable[..., Any], provider: Counting) -> None:
        crowd = ThreadCrowd()
        provider.meanwhile = lambda: _many_wait(COUNT - 1)

        def handle(number: int) -> Any:
            crowd.meet()
            return get(provider, transform="json")

        answers = crowd.serve(handle)
        assert len(provider.asked) == 1
        assert all(answer == answers[0] for answer in answers)

    @pytest.mark.parametrize("get", GETTERS)
    def test_tasks_that_miss_at_once(self, get: Callable[..., Any], provider: Counting) -> None:
        crowd = TaskCrowd()
        provider.meanwhile = lambda: _many_wait(COUNT - 1)

        async def handle(number: int) -> Any:
            await crowd.meet()
            name = "get" if get is GETTERS[0].values[0] else "get_multiple"
            return await off_loop(getattr(provider, name), "x", transform="json")

        answers = crowd.serve(handle)
        assert len(provider.asked) == 1
        assert all(answer == answers[0] for answer in answers)

    def test_tasks_that_do_not_leave_the_loop(self, provider: Counting) -> None:
        crowd = TaskCrowd()

        async def handle(number: int) -> Any:
            await crowd.meet()
            return provider.get("x")

        crowd.serve(handle)
        assert len(provider.asked) == 1

    def test_a_loop_never_waits_for_a_thread_that_may_need_it(self, provider: Counting) -> None:
        gate = Gate()

        async def main() -> None:
            other = asyncio.ensure_future(off_loop(provider.get, "x"))
            await asyncio.to_thread(gate.reached.wait, PATIENCE_S)
            provider.meanwhile = lambda: None
            assert provider.get("x") == provider.answer
            gate.open()
            await other

        provider.meanwhile = gate
        asyncio.run(main())
        assert len(provider.asked) == 2

    @pytest.mark.parametrize(
        "options",
        [{"force_fetch": True}, {"max_age": 0}],
        ids=["force_fetch", "max_age"],
    )
    def test_who_wants_it_fresh_fetches_it(
        self, provider: Counting, options: dict[str, Any]
    ) -> None:
        crowd = ThreadCrowd(5)
        provider.meanwhile = crowd.meet
        crowd.serve(lambda number: provider.get("x", **options))
        assert len(provider.asked) == 5

    def test_other_options_are_another_fetch(self, provider: Counting) -> None:
        crowd = ThreadCrowd(4)
        provider.meanwhile = crowd.meet
        crowd.serve(lambda number: provider.get("x", Filters=[{"Values": [number]}]))
        assert sorted(options["Filters"][0]["Values"][0] for _, options in provider.asked) == [
            *range(4)
        ]

    def test_other_names_transforms_and_providers_are_other_fetches(self) -> None:
        crowd = ThreadCrowd(4)
        first, second = Counting(), Counting()
        first.meanwhile = second.meanwhile = crowd.meet
        calls: list[Callable[[], Any]] = [
            lambda: first.get("x"),
            lambda: first.get("y"),
            lambda: first.get("x", transform="json"),
            lambda: second.get("x"),
        ]
        crowd.serve(lambda number: calls[number]())
        assert (len(first.asked), len(second.asked)) == (3, 1)

    def test_after_a_failure_each_decides_again(self, provider: Counting) -> None:
        crowd = ThreadCrowd(5)
        outcomes: list[Any] = []
        provider.answer = OSError("first")

        def meanwhile() -> None:
            if len(provider.asked) == 1:
                _many_wait(4)
                provider.answer = "value"

        provider.meanwhile = meanwhile

        def handle(number: int) -> None:
            crowd.meet()
            try:
                outcomes.append(provider.get("x"))
            except GetParameterError as error:
                outcomes.append(str(error))

        crowd.serve(handle)
        assert sorted(outcomes) == ["first"] + ["value"] * 4

    def test_nobody_waits_for_another_after_the_deadline(self, provider: Counting) -> None:
        gate = Gate()
        provider.meanwhile = gate
        leader = threading.Thread(target=provider.get, args=("x",))
        leader.start()
        assert gate.reached.wait(PATIENCE_S)
        provider.meanwhile = lambda: None
        try:
            assert serving(0.1, lambda: provider.get("x")) == provider.answer
            assert leader.is_alive()
        finally:
            gate.open()
            leader.join(PATIENCE_S)
        assert len(provider.asked) == 2

    def test_a_cancelled_caller_harms_nobody(self, provider: Counting) -> None:
        gate = Gate()
        provider.meanwhile = gate

        async def main() -> Any:
            first = asyncio.ensure_future(off_loop(provider.get, "x"))
            await asyncio.to_thread(gate.reached.wait, PATIENCE_S)
            others = [asyncio.ensure_future(off_loop(provider.get, "x")) for _ in range(5)]
            await asyncio.to_thread(_many_wait, 5)
            first.cancel()
            others[0].cancel()
            await asyncio.sleep(0)
            gate.open()
            return await asyncio.gather(*others[1:])

        assert asyncio.run(main()) == [provider.answer] * 4
        assert len(provider.asked) == 1

    def test_a_provider_that_asks_for_what_it_is_fetching(self, provider: Counting) -> None:
        inner: list[Any] = []

        def meanwhile() -> None:
            if len(provider.asked) == 1:
                thread = threading.Thread(target=lambda: inner.append(provider.get("x")))
                thread.start()
                thread.join(PATIENCE_S)
                inner.append(provider.get("x"))

        provider.meanwhile = meanwhile
        with context.serving(request_of(1)):  # helper threads know whose they are
            assert provider.get("x") == provider.answer
        assert inner == [provider.answer] * 2


def _many_wait(count: int) -> None:
    """Until that many wait for a fetch. There is no event for it: one more look at each switch."""
    give_up = threading.Event()
    timer = threading.Timer(PATIENCE_S, give_up.set)
    timer.start()
    try:
        while _waiting() < count:
            assert not give_up.is_set()
            give_up.wait(0.001)
    finally:
        timer.cancel()
        timer.join()


def _waiting() -> int:
    table = fetches()._table
    return sum(len(one.done._cond._waiters) for one in list(table.values()))


class TestValues:
    @pytest.mark.parametrize("get", GETTERS)
    def test_nobody_changes_anothers_in_threads(
        self, get: Callable[..., Any], provider: Counting
    ) -> None:
        crowd = ThreadCrowd()

        def handle(number: int) -> Any:
            value = get(provider, transform="json")
            value["mine"] = number
            value.get("items", value.get("a", {}).get("items")).append(number)
            crowd.meet()
            return value

        for number, value in enumerate(crowd.serve(handle)):
            assert value["mine"] == number
            assert value.get("items", value.get("a", {}).get("items")) == [1, number]
        assert "mine" not in get(provider, transform="json")
        assert len(provider.asked) == 1

    @pytest.mark.parametrize("get", GETTERS)
    def test_nobody_changes_anothers_in_tasks(
        self, get: Callable[..., Any], provider: Counting
    ) -> None:
        crowd = TaskCrowd()

        async def handle(number: int) -> Any:
            value = get(provider, transform="json")
            value["mine"] = number
            await crowd.meet()
            return value["mine"]

        assert crowd.serve(handle) == list(range(COUNT))
        assert "mine" not in get(provider, transform="json")

    @pytest.mark.parametrize("answer", ["text", b"bytes"])
    def test_what_nobody_can_change_is_not_copied(self, answer: Any) -> None:
        provider = Counting(answer)
        assert provider.get("x") is provider.get("x") is answer

    def test_what_cannot_be_copied_is_shared_and_named_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Uncopyable:
            def __deepcopy__(self, memo: object) -> Any:
                raise TypeError("no copies")

        value = Uncopyable()
        provider = Counting(value)
        assert provider.get("x") is provider.get("x") is value
        assert caplog.text.count("Uncopyable cannot be copied (no copies)") == 1

    def test_transforms_fail_as_they_did(self, provider: Counting) -> None:
        provider.answer = "{"
        with pytest.raises(TransformParameterError):
            provider.get("x", transform="json")
        assert provider.get_multiple("x", transform="json") == {"a": None, "b": {}}

    def test_cached_as_long_as_it_was(
        self, provider: Counting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from datetime import datetime, timedelta

        now = datetime(2026, 1, 1)

        class Clock(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return now

        monkeypatch.setattr(parameters.base, "datetime", Clock)
        provider.get("x", max_age=10)
        now += timedelta(seconds=10)
        provider.get("x", max_age=10)
        assert len(provider.asked) == 1
        now += timedelta(seconds=1)
        provider.get("x", max_age=10)
        assert len(provider.asked) == 2
        provider.get("x", force_fetch=True)
        assert len(provider.asked) == 3


class TestClearing:
    @pytest.mark.parametrize("get", GETTERS)
    def test_between_two_looks(self, get: Callable[..., Any], provider: Counting) -> None:
        """Powertools looks whether the value is there, and then for the value."""
        get(provider)

        class Emptied(dict[Any, Any]):
            def get(self, key: Any, default: Any = None) -> Any:
                found = super().get(key, default)
                self.clear()
                return found

            def __contains__(self, key: object) -> bool:
                found = super().__contains__(key)
                self.clear()
                return found

        provider.store = Emptied(provider.store)
        assert get(provider)
        assert len(provider.asked) == 1

    def test_threads(self, provider: Counting) -> None:
        crowd = ThreadCrowd()

        def handle(number: int) -> None:
            crowd.meet()
            for _ in range(20):
                if number % 5 == 0:
                    provider.clear_cache()
                else:
                    assert provider.get("x", transform="json") == {"items": [1]}
                    assert provider.get_multiple("x")

        crowd.serve(handle)

    def test_what_was_being_fetched_is_not_cached(self, provider: Counting) -> None:
        gate = Gate()
        provider.meanwhile = gate
        old: list[Any] = []
        thread = threading.Thread(target=lambda: old.append(provider.get("x")))
        thread.start()
        assert gate.reached.wait(PATIENCE_S)
        provider.clear_cache()
        provider.answer, provider.meanwhile = "new", lambda: None
        assert provider.get("x") == "new"  # and did not wait for the old one
        gate.open()
        thread.join(PATIENCE_S)
        assert old == ['{"items": [1]}']
        assert provider.get("x") == "new"
        assert len(provider.asked) == 2


class TestDefaultProviders:
    @pytest.fixture
    def made(self, monkeypatch: pytest.MonkeyPatch) -> list[Counting]:
        made: list[Counting] = []

        class Ssm(Counting):
            def __init__(self) -> None:
                super().__init__()
                made.append(self)
                for _ in range(COUNT):
                    time.sleep(0)  # as clients do: others get their turn

            def get(self, *args: Any, decrypt: Any = None, **kwargs: Any) -> Any:
                return super().get(*args, **kwargs)

        class AppConfig(Ssm):
            def __init__(self, environment: str, application: str | None) -> None:
                assert (environment, application) == ("test", "shop")
                super().__init__()

        monkeypatch.setattr(ssm, "SSMProvider", Ssm)
        monkeypatch.setattr(appconfig, "AppConfigProvider", AppConfig)
        return made

    @pytest.mark.parametrize(
        "get",
        [
            lambda: parameters.get_parameter("x"),
            lambda: parameters.get_app_config("x", environment="test", application="shop"),
        ],
        ids=["ssm", "appconfig"],
    )
    def test_one_is_made(self, get: Callable[[], Any], made: list[Counting]) -> None:
        crowd = ThreadCrowd()

        def handle(number: int) -> Any:
            crowd.meet()
            return get()

        assert len(set(crowd.serve(handle))) == 1
        assert len(made) == 1
        assert len(made[0].asked) == 1

    @pytest.mark.parametrize("name", ["ssm", "appconfig"])
    def test_removed_between_two_looks(self, name: str, made: list[Counting]) -> None:
        providers = constants.DEFAULT_PROVIDERS
        providers[name] = provider = Counting()
        assert name in providers
        parameters.clear_caches()
        assert providers[name] is provider

    def test_removed_for_good(self) -> None:
        providers = constants.DEFAULT_PROVIDERS
        providers["other"] = Counting()
        parameters.clear_caches()
        assert "other" not in providers
        assert providers.get("ssm") is None

    def test_threads_that_clear(self, made: list[Counting]) -> None:
        crowd = ThreadCrowd()

        def handle(number: int) -> None:
            crowd.meet()
            for _ in range(20):
                if number % 5 == 0:
                    parameters.clear_caches()
                else:
                    assert parameters.get_parameter("x")
                    assert parameters.get_app_config("x", "test", "shop")

        crowd.serve(handle)


class Ssm:
    """As much of a client of the Parameter Store as is needed."""

    class exceptions:
        InvalidKeyId = InternalServerError = ZeroDivisionError

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.meta = None

    def get_parameters(self, Names: list[str], **options: Any) -> Any:
        self.calls.append(Names)
        self.meanwhile()
        found = [{"Name": name, "Value": '{"of": []}'} for name in Names]
        return {"Parameters": found, "InvalidParameters": []}


class TestByName:
    @pytest.fixture
    def client(self) -> Ssm:
        return Ssm()

    @pytest.fixture
    def provider(self, client: Ssm, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setattr(
            parameters.base.user_agent, "register_feature_to_client", lambda **_: None
        )
        return parameters.SSMProvider(boto3_client=client)

    def test_threads_share_a_fetch_and_no_values(self, provider: Any, client: Ssm) -> None:
        crowd = ThreadCrowd()
        client.meanwhile = lambda: _many_wait(COUNT - 1)
        asked: dict[str, Any] = {"/a": {}, "/b": {"max_age": 7}}

        def handle(number: int) -> Any:
            crowd.meet()
            values = provider.get_parameters_by_name(asked, transform="json")
            values["/a"]["of"].append(number)
            crowd.meet()
            return values["/a"]["of"]

        assert crowd.serve(handle) == [[number] for number in range(COUNT)]
        assert client.calls == [["/a", "/b"]]
        assert asked == {"/a": {}, "/b": {"max_age": 7}}

    def test_cleared_between_two_looks(self, provider: Any, client: Ssm) -> None:
        provider.get_parameters_by_name({"/a": {}})
        client.meanwhile = provider.clear_cache
        crowd = ThreadCrowd()

        def handle(number: int) -> Any:
            crowd.meet()
            for _ in range(20):
                if number % 5 == 0:
                    provider.clear_cache()
                else:
                    assert provider.get_parameters_by_name({"/a": {}})

        crowd.serve(handle)

    @pytest.mark.anyio
    async def test_off_the_loop(self, provider: Any, client: Ssm) -> None:
        threads: list[int] = []
        client.meanwhile = lambda: threads.append(threading.get_ident())
        for _ in range(2):
            assert await off_loop(provider.get_parameters_by_name, {"/a": {}})
        assert len(threads) == 1
        assert threading.get_ident() not in threads


class TestSecrets:
    @pytest.mark.anyio
    async def test_off_the_loop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        threads: list[int] = []

        class Client:
            meta = None

            def batch_get_secret_value(self, **options: Any) -> Any:
                threads.append(threading.get_ident())
                return {"SecretValues": [{"Name": "a", "SecretString": "secret"}]}

        monkeypatch.setattr(
            parameters.base.user_agent, "register_feature_to_client", lambda **_: None
        )
        provider = parameters.SecretsProvider(boto3_client=Client())
        for _ in range(2):
            assert await off_loop(provider.get_multiple, ["a"]) == {"a": "secret"}
        assert len(threads) == 1
        assert threading.get_ident() not in threads

    def test_filters_are_not_added_to(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Client:
            meta = None

            def batch_get_secret_value(self, **options: Any) -> Any:
                return {"SecretValues": [{"Name": "a", "SecretString": '{"of": []}'}]}

        monkeypatch.setattr(
            parameters.base.user_agent, "register_feature_to_client", lambda **_: None
        )
        provider = parameters.SecretsProvider(boto3_client=Client())
        filters: list[Any] = [{"Key": "tag-key", "Values": ["x"]}]
        crowd = ThreadCrowd(10)

        def handle(number: int) -> Any:
            crowd.meet()
            values = provider.get_multiple(["a"], transform="json", Filters=filters)
            values["a"]["of"].append(number)
            crowd.meet()
            return values["a"]["of"]

        assert crowd.serve(handle) == [[number] for number in range(10)]
        assert len(filters) == 1


class TestAppConfig:
    def test_each_token_is_used_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Body:
            def read(self) -> bytes:
                return b"{}"

        class Client:
            meta = None

            def __init__(self) -> None:
                self.tokens: list[str] = []
                self.sessions = 0
                self.inside = 0

            def start_configuration_session(self, **options: Any) -> Any:
                self.sessions += 1
                return {"InitialConfigurationToken": "0"}

            def get_latest_configuration(self, ConfigurationToken: str) -> Any:
                self.tokens.append(ConfigurationToken)
                self.inside += 1
                assert self.inside == 1
                time.sleep(0)
                self.inside -= 1
                return {
                    "Configuration": Body(),
                    "NextPollConfigurationToken": str(int(ConfigurationToken) + 1),
                }

        monkeypatch.setattr(
            parameters.base.user_agent, "register_feature_to_client", lambda **_: None
        )
        client = Client()
        provider = parameters.AppConfigProvider(
            environment="test", application="shop", boto3_client=client
        )
        crowd = ThreadCrowd()

        def handle(number: int) -> None:
            crowd.meet()
            assert provider.get("x", force_fetch=True, transform="json") == {}

        crowd.serve(handle)
        assert client.sessions == 1
        assert client.tokens == [str(number) for number in range(COUNT)]


class TestOffLoop:
    @pytest.mark.anyio
    async def test_a_miss_is_fetched_in_a_thread_and_a_hit_is_not(self, provider: Counting) -> None:
        seen: list[Any] = []
        provider.meanwhile = lambda: seen.append(context.current())
        with context.serving(request_of(4)) as request:
            for _ in range(3):
                assert await off_loop(provider.get, "x", transform="json") == {"items": [1]}
        assert seen == [request]
        assert threading.get_ident() not in provider.threads

    @pytest.mark.anyio
    async def test_a_hit_needs_no_thread(
        self, provider: Counting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def no_threads(*args: Any, **kwargs: Any) -> Any:
            raise AssertionError

        await off_loop(provider.get, "x")
        monkeypatch.setattr(ours, "in_thread", no_threads)
        assert await off_loop(provider.get, "x") == provider.answer

    @pytest.mark.anyio
    async def test_a_default_provider_is_made_in_a_thread(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        threads: list[int] = []

        class Ssm(Counting):
            def __init__(self) -> None:
                threads.append(threading.get_ident())
                super().__init__()

        monkeypatch.setattr(ssm, "SSMProvider", Ssm)
        assert await off_loop(parameters.get_parameter, "x")
        assert len(threads) == 1
        assert threading.get_ident() not in threads

    @pytest.mark.anyio
    async def test_errors_are_the_functions(self, provider: Counting) -> None:
        provider.answer = OSError("no")
        with pytest.raises(GetParameterError, match="no"):
            await off_loop(provider.get, "x")

    @pytest.mark.anyio
    async def test_another_function_gets_a_thread_from_its_first_line_on(
        self, provider: Counting
    ) -> None:
        threads: list[int] = []

        def load() -> Any:
            threads.append(threading.get_ident())
            return provider.get("x")

        assert await off_loop(load) == provider.answer
        assert len(threads) == 1
        assert threading.get_ident() not in threads

    @pytest.mark.anyio
    async def test_a_provider_that_does_not_tell_gets_a_thread(
        self, provider: Counting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As in a version of powertools that was left as it is."""
        monkeypatch.setattr(BaseProvider, "get", BaseProvider.get.__wrapped__)
        assert await off_loop(provider.get, "x") == provider.answer
        assert threading.get_ident() not in provider.threads

    @pytest.mark.anyio
    async def test_the_loop_goes_on_meanwhile(self, provider: Counting) -> None:
        gate = Gate()
        provider.meanwhile = gate
        async with anyio.create_task_group() as group:
            group.start_soon(off_loop, provider.get, "x")
            while not gate.reached.is_set():
                await anyio.lowlevel.checkpoint()
            gate.open()
