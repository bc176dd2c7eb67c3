"""A function that imports what many functions import. `plain` and `task` are the same one."""

import asyncio
import time

import boto3
from aws_lambda_powertools import Logger
from pydantic import BaseModel

logger = Logger(service="orders")
table = boto3.client("dynamodb", region_name="us-east-1")


class Order(BaseModel):
    order_id: str = "o-1"
    quantity: int = 1
    hold_ms: int = 0


def plain(event, context):
    order = Order.model_validate(event)
    if order.hold_ms:
        time.sleep(order.hold_ms / 1000)
    return order.model_dump()


async def task(event, context):
    order = Order.model_validate(event)
    if order.hold_ms:
        await asyncio.sleep(order.hold_ms / 1000)
    return order.model_dump()
