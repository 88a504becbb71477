"""What went wrong, in words: only this crosses the border of a process, never an exception."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from napari_resformer.devices import is_out_of_memory

Kind = Literal["refused", "memory", "disk", "library", "stopped", "crashed", "unexpected"]

_REFUSALS = (ValueError, TypeError, OSError)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_MORE_MEMORY = (
    "Choose the CPU as the device, or a smaller tile in Preferences > Plugin Preferences > ResFormer, or close other programs; "
    "then start it again."
)
_OTHERWISE = (
    "Check that axes and model fit the image, or try another device. If it fails again, please report it with these words."
)
_AGAIN = "Start it again: it gets a new worker process. If it happens again, choose another device and please report it."
_WHOLE_AGAIN = "Install the plugin again: pip install 'napari-resformer[all]'."

_DEATHS = {  # by signal, as Popen.returncode has it, and by the number that Windows gives
    -9: "was killed, most often because memory ran out",
    137: "was killed, most often because memory ran out",  # as a shell says it
    -15: "was ended by another program",
    15: "was ended by another program",  # what psutil gives on Windows
    -2: "was interrupted",
    -11: "crashed in a library (an invalid memory address)",
    139: "crashed in a library (an invalid memory address)",
    -7: "crashed in a library (a bus error); a full /dev/shm or disk can be the reason",
    -10: "crashed in a library (a bus error)",  # macOS
    -6: "was given up by a library",
    -4: "met an instruction that this processor does not have",
    -8: "crashed in a library (a division error)",
    0xC0000005: "crashed in a library (an invalid memory address)",
    0xC0000017: "ran out of memory",
    0xC000012D: "ran out of memory (the paging file is too small)",
    0xC000001D: "met an instruction that this processor does not have",
    0xC0000094: "crashed in a library (a division error)",
    0xC00000FD: "crashed in a library (its stack is full)",
    0xC0000135: "did not find a library (DLL)",
    0xC000013A: "was interrupted",
    0xC0000374: "crashed in a library (its memory is damaged)",
    0xC0000409: "was given up by a library",
}
_OF_MEMORY = (-9, 137, 0xC0000017, 0xC000012D)


@dataclass(frozen=True)
class Fault:
    """Why a job did not end well.

    Parameters
    ----------
    kind : str
        ``refused`` (what was asked for cannot be done), ``memory``, ``disk``, ``library`` (one is missing), ``stopped`` (by
        somebody else), ``crashed`` (the worker process died) or ``unexpected``.
    what : str
        What happened, in whole sentences.
    remedy : str
        What to do about it, in whole sentences; may be empty. A widget that knows better says its own instead.
    type_name : str
        Of the exception; empty where there was none.
    traceback : str
        For a report, not for the window.
    """

    kind: Kind
    what: str
    remedy: str = ""
    type_name: str = ""
    traceback: str = ""

    @property
    def text(self) -> str:
        """What happened and what to do."""
        return f"{self.what} {self.remedy}".strip()


@dataclass(frozen=True)
class Failed:
    """The last event of a job that did not end well."""

    fault: Fault


def describe(error: BaseException) -> Fault:
    """Return an exception in words.

    Parameters
    ----------
    error : BaseException
        What a job raised.
    """
    name = type(error).__name__
    kind, what, remedy = _words(error, name, _text(error))
    return Fault(kind, what, remedy, name, _traceback(error))


def _words(error: BaseException, name: str, text: str) -> tuple[Kind, str, str]:
    if is_out_of_memory(error):
        return "memory", "There was not enough memory.", _MORE_MEMORY
    if isinstance(error, OSError) and error.errno in _FULL:
        what = f"The disk is full ({error.strerror}). Nothing was half-written."
        return "disk", what, "Make room, then press the same button again."
    if isinstance(error, ImportError):
        return "library", f"A library is missing ({text or name}).", _WHOLE_AGAIN
    if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
        return "stopped", f"The job was stopped ({name}). Nothing was changed.", "Start it again."
    if isinstance(error, _REFUSALS) and text:
        return "refused", f"This cannot run: {text}", ""
    detail = f"{name}: {text}" if text else name
    return "unexpected", f"The job failed ({detail}). Nothing was changed.", _OTHERWISE


def _text(error: BaseException) -> str:
    try:
        return " ".join(str(error).split())
    except Exception as broken:  # noqa: BLE001 - the words of an exception are its own code, and a job must end all the same
        return f"no words: {type(broken).__name__}"


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception as broken:  # noqa: BLE001 - as above
        return f"no traceback: {type(broken).__name__}"


def crash_fault(exit_code: int | None, *, said: Sequence[str] = (), starting: bool = False) -> Fault:
    """Return in words how a worker process ended that was not asked to.

    Parameters
    ----------
    exit_code : int or None
        As ``Popen.returncode`` has it, of any system; None where there is no process, or where it did not end by itself.
    said : sequence of str
        Its last lines on stderr.
    starting : bool
        Whether it was not ready yet.
    """
    log = "\n".join(said)
    if exit_code is None:
        how = "could not be started" if starting else "was lost"
        return Fault("crashed", f"The worker process {how}.", _WHOLE_AGAIN if starting else _AGAIN, traceback=log)
    code = exit_code & 0xFFFFFFFF if exit_code < -64 else exit_code  # Windows' numbers, as signed ones
    shown = f"{code:#010x}" if code > 0xFFFF else str(code)
    how = _DEATHS.get(code, f"ended unasked (exit code {shown})")
    if starting:
        how += " while it started"
        if said and 0 < code < 128:  # Python says the reason last
            how += f": {said[-1].strip()}"
    remedy = _MORE_MEMORY if code in _OF_MEMORY else _WHOLE_AGAIN if starting else _AGAIN
    return Fault("crashed", f"The worker process {how.rstrip('.')}.", remedy, traceback=log)


def start_fault(error: BaseException) -> Fault:
    """Return in words why a worker process could not be started."""
    if is_out_of_memory(error):
        return describe(error)
    detail = _text(error) or type(error).__name__
    what = f"The worker process could not be started ({detail})."
    return Fault("crashed", what, _WHOLE_AGAIN, type(error).__name__, _traceback(error))


def stopped_fault() -> Fault:
    """Return in words that a job had to go because another one did not end."""
    return Fault(
        "stopped", "The job was stopped, because another one beside it was cancelled and did not end.", "Start it again."
    )
