import trio

CURRENT = None


async def handler(event, context):
    global CURRENT
    CURRENT = context.aws_request_id
    await trio.sleep(0.01)
    return {"id": CURRENT}


async def good(event, context):
    me = context.aws_request_id
    await trio.sleep(0.01)
    return {"id": me}
