from lmi_runtime.stress import stress_test


@stress_test("app.handle", events=[{"sku": "tea"}])
def test_sells_only_what_there_is(module):
    assert module.stock["tea"] >= 0
