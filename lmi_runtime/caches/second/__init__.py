"""What keeps values beyond an environment: Valkey or Redis, and DynamoDB."""

from lmi_runtime.caches.second.blocking import BlockingLevel
from lmi_runtime.caches.second.dynamodb import DynamoDBLevel
from lmi_runtime.caches.second.guard import GuardedLevel
from lmi_runtime.caches.second.level import SecondLevel, TooLarge
from lmi_runtime.caches.second.memory import MemoryLevel
from lmi_runtime.caches.second.valkey import ValkeyLevel

__all__ = [
    "BlockingLevel",
    "DynamoDBLevel",
    "GuardedLevel",
    "MemoryLevel",
    "SecondLevel",
    "TooLarge",
    "ValkeyLevel",
]
