from lmi_runtime import handler

stock = {"tea": 1}


@handler(concurrency="threads")
def handle(event, context):
    sku = event["sku"]
    if stock[sku] == 0:
        return {"sold": False}
    print("selling", sku)
    stock[sku] -= 1
    return {"sold": True}
