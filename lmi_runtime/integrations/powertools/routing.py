"""
The event handler for REST, HTTP, ALB, VPC Lattice, function URLs and Bedrock agents.

Powertools sets ``current_event`` and ``lambda_context`` on `BaseRouter` itself, keeps one context
for each app and builds what a route needs when it is first asked for. Here each call of
``resolve`` has its own, and what is built is built once.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from lmi_runtime import _sync
from lmi_runtime.integrations.patching import Swaps
from lmi_runtime.integrations.powertools import subclasses
from lmi_runtime.integrations.powertools.resolution import (
    AppAttribute,
    Fact,
    apps_of,
    innermost,
    note_app,
    opened,
    resolution_of,
    startup_is_now,
)

__all__ = ["isolate_merged_schemas", "isolate_resolvers", "setting_facts"]


def isolate_resolvers(module: ModuleType, swaps: Swaps) -> None:
    """Change ``event_handler.api_gateway``."""
    base, resolver, router = module.BaseRouter, module.ApiGatewayResolver, module.Router
    resolve = swaps.function(resolver, "resolve", "self, event, context")
    append = swaps.function(base, "append_context", "self, **additional_context")
    include = swaps.function(resolver, "include_router", "self, router, prefix")
    swaps.fields(resolver, "context", "current_event", "lambda_context")
    swaps.function(base, "_reset_processed_stack", "self")
    swaps.function(resolver, "clear_context", "self")

    _build_once(module.Route, swaps)
    schema = swaps.function(resolver, "get_openapi_schema", "self, title, version")
    swaps.put(resolver, "get_openapi_schema", _one_at_a_time(schema))
    _keep_responses_apart(module, swaps)

    swaps.put(resolver, "resolve", _in_a_place_of_its_own(resolve))
    if hasattr(resolver, "resolve_async"):
        resolve_async = swaps.function(resolver, "resolve_async", "self, event, context")
        swaps.put(resolver, "resolve_async", _in_an_async_place_of_its_own(resolve_async))
    frames = AppAttribute("processed_stack_frames", lambda _: [], default=list, lasting=True)
    app_context = AppAttribute("context", copy.copy, default=dict)
    swaps.put(base, "processed_stack_frames", frames)
    swaps.put(base, "context", app_context)
    swaps.put(base, "append_context", _noticing_startup(append))
    # Newer versions have a property there, and the value behind it.
    stored = "_context" if isinstance(vars(router).get("context"), property) else "context"
    router_context = _RouterContext(AppAttribute("context", copy.copy, default=dict, stored=stored))
    swaps.put(router, "context", router_context)
    swaps.put(resolver, "include_router", _remembering_apps(include, router_context))
    facts = {name: Fact(name) for name in ("current_event", "lambda_context")}
    for name, fact in facts.items():
        swaps.put(base, name, fact)
    subclasses.expect({"processed_stack_frames": frames, "context": app_context, **facts})
    # Last: from then on, what is set on the class goes to whatever the metaclass has.
    swaps.put(base, "__class__", setting_facts(type(base), facts))


def isolate_merged_schemas(module: ModuleType, swaps: Swaps) -> None:
    """Change ``event_handler.openapi.merge``, which collects its schema in steps."""
    merge = module.OpenAPIMerge
    schema = swaps.function(merge, "get_openapi_schema", "self")
    swaps.put(merge, "get_openapi_schema", _one_at_a_time(schema))


def _in_a_place_of_its_own(resolve: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(resolve)
    def resolve_apart(self: Any, *args: Any, **kwargs: Any) -> Any:
        if subclasses.is_powertools(type(self)):
            with opened(self):
                return resolve(self, *args, **kwargs)
        with subclasses.watched(self), opened(self):
            return resolve(self, *args, **kwargs)

    return resolve_apart


def _in_an_async_place_of_its_own(resolve: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(resolve)
    async def resolve_apart(self: Any, *args: Any, **kwargs: Any) -> Any:
        with subclasses.watched(self), opened(self):
            return await resolve(self, *args, **kwargs)

    return resolve_apart


def _noticing_startup(append: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(append)
    def append_context(self: Any, **additional_context: Any) -> None:
        append(self, **additional_context)
        if innermost() is None:
            startup_is_now(getattr(self, "api_resolver", None) or self)

    return append_context


def _remembering_apps(
    include: Callable[..., Any], router_context: _RouterContext
) -> Callable[..., Any]:
    @functools.wraps(include)
    def include_router(self: Any, router: Any, *args: Any, **kwargs: Any) -> Any:
        # What it has itself, before it is asked through the app.
        self.context.update(router_context.own(router))
        note_app(router, self)
        result = include(self, router, *args, **kwargs)
        startup_is_now(self)
        return result

    return include_router


class _RouterContext:
    """
    A router's context: that of the app whose call it serves, as soon as it is part of one.

    Thread safety: that of the app's.
    """

    def __init__(self, own: AppAttribute) -> None:
        self._own = own

    def own(self, router: Any) -> Any:
        """What was appended to it before it was part of an app."""
        return self._own.__get__(router)

    def __get__(self, router: Any, owner: type | None = None) -> Any:
        if router is None:
            return self
        resolution = resolution_of(*apps_of(router))
        if resolution is not None:
            return resolution.values["context"]
        app = getattr(router, "api_resolver", None)
        return self.own(router) if app is None else app.context

    def __set__(self, router: Any, value: object) -> None:
        resolution = resolution_of(*apps_of(router))
        app = getattr(router, "api_resolver", None)
        if resolution is not None:
            resolution.values["context"] = value
        elif app is not None:
            app.context = value
        else:
            self._own.__set__(router, value)


def setting_facts(metaclass: type, facts: dict[str, Fact]) -> type:
    """A metaclass for `BaseRouter`: what is set on the class does not replace what is there."""
    return type(metaclass)(
        metaclass.__name__,
        (metaclass,),
        {name: _FactOfAll(fact) for name, fact in facts.items()},
    )


class _FactOfAll:
    """A `Fact`, seen from the class. Thread safety: that of the fact."""

    def __init__(self, fact: Fact) -> None:
        self._fact = fact

    def __get__(self, owner: type | None, metaclass: type | None = None) -> Any:
        return self if owner is None else self._fact.__get__(None, owner)

    def __set__(self, owner: type, value: object) -> None:
        # Test tools put back what they found in the class.
        if value is self._fact:
            self._fact.forget()
        else:
            self._fact.set_for_all(value)

    def __delete__(self, owner: type) -> None:
        self._fact.forget()


_building = _sync.ProcessWide(lambda: _sync.RLock(), anew_in_child=True)
"""Guards what routes build of themselves when first asked: it is quick, and done once a route."""
_describing = _sync.ProcessWide(lambda: _sync.RLock(), anew_in_child=True)
"""Guards OpenAPI schemas, which take longer; taken before `_building`."""


def _one_at_a_time(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def one_at_a_time(*args: Any, **kwargs: Any) -> Any:
        with _describing():
            return function(*args, **kwargs)

    return one_at_a_time


def _build_once(route: type, swaps: Swaps) -> None:
    build = swaps.function(route, "_build_middleware_stack", "self, router_middlewares, app")
    swaps.function(route, "__call__", "self, router_middlewares, app, route_arguments")
    built = _built_once(build)
    swaps.put(route, "_build_middleware_stack", built)
    for name in ("dependant", "body_field"):
        found = swaps.attribute(route, name)
        swaps.put(route, name, _made_once(found.fget, f"_{name}"))
    if hasattr(route, "call_async"):
        call = swaps.function(route, "call_async", "self, router_middlewares, app, route_arguments")
        swaps.put(route, "call_async", _with_validation_there(call, built))


def _built_once(build: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(build)
    def build_once(self: Any, router_middlewares: Any, app: Any) -> None:
        with _building():
            # Another first request may have been faster. Each step wraps what is there.
            if self._middleware_stack_built:
                return
            try:
                build(self, router_middlewares=router_middlewares, app=app)
            except BaseException:
                self._middleware_stack = self.func
                raise

    return build_once


def _made_once(make: Callable[[Any], Any], kept_as: str) -> property:
    @functools.wraps(make)
    def made_once(self: Any) -> Any:
        made = getattr(self, kept_as)
        if made is not None:
            return made
        with _building():
            return make(self)

    return property(made_once)


def _with_validation_there(
    call: Callable[..., Any], build: Callable[..., None]
) -> Callable[..., Any]:
    """Validation for one route of an app is made in two steps, between which others see half."""

    @functools.wraps(call)
    async def call_async(
        self: Any, router_middlewares: Any, app: Any, *args: Any, **kw: Any
    ) -> Any:
        validates = getattr(self, "enable_validation", None)
        if validates and not hasattr(app, "_response_validation_middleware"):
            build(self, router_middlewares, app)
        return await call(self, router_middlewares, app, *args, **kw)

    return call_async


def _keep_responses_apart(module: ModuleType, swaps: Swaps) -> None:
    """
    Have what a route returned changed by nobody but its request.

    Middlewares add headers to a response, and powertools serializes it in place. Where a module
    keeps one, or a dictionary of headers, for all requests, that would be everybody's.
    """
    response = module.Response
    to_response = swaps.function(module.ApiGatewayResolver, "_to_response", "self, result")
    builder = swaps.function(module.ResponseBuilder, "__init__", "self, response, serializer")

    @functools.wraps(to_response)
    def to_own_response(self: Any, result: Any) -> Any:
        made = to_response(self, result)
        return _own(made, response) if made is result else _known_as_own(made)

    @functools.wraps(builder)
    def build_own(self: Any, *args: Any, **kwargs: Any) -> None:
        builder(self, *args, **kwargs)
        self.response = _own(self.response, response)

    swaps.put(module.ApiGatewayResolver, "_to_response", to_own_response)
    swaps.put(module.ResponseBuilder, "__init__", build_own)


def _own(response: Any, kind: type) -> Any:
    resolution = innermost()
    if not isinstance(response, kind) or resolution is None or resolution.response is response:
        return response
    if type(response) is kind:
        own: Any = object.__new__(kind)  # as copy.copy, which takes three times as long
        vars(own).update(vars(response))
    else:
        own = copy.copy(response)
    own.headers = dict(own.headers)
    return _known_as_own(own)


def _known_as_own(response: Any) -> Any:
    resolution = innermost()
    if resolution is not None:
        resolution.response = response
    return response
