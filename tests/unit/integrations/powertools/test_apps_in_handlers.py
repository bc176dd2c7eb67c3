"""Apps that a handler makes for each request, with routers of its module."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from aws_lambda_powertools.event_handler import APIGatewayRestResolver, AppSyncResolver
from aws_lambda_powertools.event_handler.api_gateway import Router
from aws_lambda_powertools.event_handler.graphql_appsync.router import Router as FieldRouter

from lmi_runtime.integrations import make_safe
from tests.support.crowd import ThreadCrowd

make_safe()


@pytest.mark.parametrize(
    ("app", "router"), [(APIGatewayRestResolver, Router), (AppSyncResolver, FieldRouter)]
)
def test_they_are_gone_with_their_requests(app: Any, router: Any) -> None:
    kept = router()
    crowd = ThreadCrowd(8)

    def handle(_: int) -> weakref.ref[Any]:
        made = app()
        made.include_router(kept)
        return weakref.ref(made)

    references = crowd.serve(handle)
    gc.collect()

    # Powertools' own attribute of the router refers to the latest.
    assert sum(reference() is not None for reference in references) <= 1
