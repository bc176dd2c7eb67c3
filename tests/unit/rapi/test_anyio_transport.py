"""What only the generic transport has to see to."""

from __future__ import annotations

import anyio
import pytest

from lmi_runtime.rapi.anyio_transport import connect_anyio
from lmi_runtime.rapi.transport import HungUp
from tests.support.patience import PATIENCE_S

pytestmark = pytest.mark.anyio


async def test_a_send_cancelled_halfway_leaves_a_connection_that_says_so() -> None:
    """The peer waits for the rest of a chunk: what is sent next would become part of it."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        connection = await connect_anyio("127.0.0.1", port)
        async with anyio.create_task_group() as tasks:
            # Nobody reads, so it cannot all be sent.
            tasks.start_soon(connection.send, bytes(64 * 1024 * 1024))
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()

        assert connection.answered
        with anyio.fail_after(PATIENCE_S), pytest.raises(HungUp):
            await connection.receive()
