from collections import deque


class Pool:
    def __init__(self):
        self.free = deque(["one", "two"])

    def lease(self):
        return self.free.popleft()  # one step: nobody comes between

    def give_back(self, connection):
        self.free.append(connection)


def use(pool):
    connection = pool.lease()
    pool.give_back(connection)


def test_pool_hands_out_each_connection_once(explore):
    explore(Pool, [use, use], lambda pool: set(pool.free) == {"one", "two"})
