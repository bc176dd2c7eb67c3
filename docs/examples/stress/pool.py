"""A pool of connections, and two who use it at once."""

from lmi_runtime.stress import Verdict, explore


class Pool:
    def __init__(self):
        self.free = ["one", "two"]

    def lease(self):
        connection = self.free[0]
        print("leasing", connection)
        self.free.remove(connection)
        return connection


def use(pool):
    pool.lease()


report = explore(Pool, [use, use], lambda pool: pool.free == [])

assert report.verdict is Verdict.FAILED
finding = report.findings[0]
assert finding.oracle == "exception"  # list.remove(x): x not in list
assert finding.preemptions == 1 and finding.minimal
assert finding.builds == ("gil", "free-threaded")
