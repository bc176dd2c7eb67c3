"""Two files look for a free block under their own inode locks and get the same one."""

import threading

KIND = "thread"
RACY = False
DEPTH = None
GIL_DEPTH = None
FAILS_BY = "invariant"
TAGS = ("allocator", "locks-held")
SOURCE = "SCTBench CS/fsbench_bad: a block is looked for under one lock and marked under another"


class Disk:
    def __init__(self):
        self.inode_locks = [threading.Lock(), threading.Lock()]
        self.block_lock = threading.Lock()
        self.busy = [True, False, False]
        self.inodes = [None, None]

    def free_block(self):
        return self.busy.index(False)

    def allocate(self, inode):
        with self.inode_locks[inode]:
            with self.block_lock:
                block = self.free_block()
                self.busy[block] = True
            self.inodes[inode] = block


def make_state():
    return Disk()


def threads(disk):
    return [lambda: disk.allocate(0), lambda: disk.allocate(1)]


def invariant(disk):
    return sorted(disk.inodes) == [1, 2]
