"""Every node's process ends, also where the middleware does not."""

import subprocess
import sys

import pytest

pytest.importorskip("vipa_msgs", reason="needs ROS 2 and the built vipa_msgs")
pytestmark = pytest.mark.ros

STUCK = """
import time
from vipa.nodes.base import end_within
end_within(0.2, 3)
time.sleep(50)
"""


def test_a_process_that_hangs_in_its_shutdown_ends_with_its_status_and_says_where_it_was() -> None:
    done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=40, check=False)
    assert done.returncode == 3
    assert "did not shut down within 0 s" in done.stderr
    assert 'File "<string>", line 5 in <module>' in done.stderr
