import threading

from lmi_runtime import handler

lock = threading.Lock()
stock = {"tea": 1}  # guarded by lock


@handler(concurrency="threads")
def handle(event, context):
    sku = event["sku"]
    with lock:  # checked and taken in one critical section
        if stock[sku] == 0:
            return {"sold": False}
        stock[sku] -= 1
    print("sold", sku)
    return {"sold": True}
