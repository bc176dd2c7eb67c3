"""A handler that cannot be called as one."""


async def main(event: object, context: object, more: object) -> None: ...
