"""The application is the first process of a container: what dies becomes its child."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import glob, os, time
import autocron
from shop import add

autocron.start("shop.db")
print(os.getpid(), add(2, 3).wait(20))
autocron.stop()
deadline = time.monotonic() + 10
while (names := glob.glob("/proc/[0-9]*")) != ["/proc/1"] and time.monotonic() < deadline:
    time.sleep(0.01)
print(names)
"""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare")
def test_no_zombie_is_left(tmp_path: Path):
    (tmp_path / "shop.py").write_text("import autocron\n\n@autocron.delay\ndef add(a, b):\n    return a + b\n")
    (tmp_path / "app.py").write_text(SCRIPT)
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "app.py"],
        cwd=tmp_path,
        env={**os.environ, "AUTOCRON_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines() == ["1 5", "['/proc/1']"]
