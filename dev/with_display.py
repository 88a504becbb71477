"""Run a command with a display: the one there is, or else a virtual one (Linux only; others have one)."""

import os
import shutil
import subprocess
import sys


def main(command: list[str]) -> int:
    environment = dict(os.environ)
    has_display = environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")
    if sys.platform.startswith("linux") and not has_display:
        if shutil.which("xvfb-run") is None:
            print("No display, and no xvfb-run to make one: install xvfb and xauth.", file=sys.stderr)
            return 1
        # "offscreen" has no OpenGL, without which napari cannot draw.
        environment.pop("QT_QPA_PLATFORM", None)
        # A virtual display has no graphics card behind it. Said aloud, Mesa looks for none and warns of none.
        environment["LIBGL_ALWAYS_SOFTWARE"] = "1"
        command = ["xvfb-run", "--auto-servernum", "--server-args=-screen 0 1600x1200x24", *command]
    return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
