"""One process at a time in a folder: a lock that ends with the process that holds it."""

import errno
import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: no lock
    fcntl = None  # type: ignore[assignment]

_HELD: dict[Path, int] = {}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}  # some network drives


def acquire(folder: Path) -> None:
    """Locks a folder for this process; again, if it has it already, changes nothing.

    The lock is the operating system's, on the folder itself: nothing is left of it when the process
    ends, however it ends. Where the file system knows no locks, there is none.

    Raises:
      BlockingIOError: another process holds it.
    """
    place = folder.resolve()
    if fcntl is None or _holds(place):
        return
    descriptor = os.open(place, os.O_RDONLY)  # not inherited by programs that this one starts
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise BlockingIOError(
            f"path {folder} is in use by another process; wait for it, or choose another folder."
        ) from error
    except OSError as error:
        os.close(descriptor)
        if error.errno not in _NO_LOCKS:
            raise
        return
    _HELD[place] = descriptor


def _holds(place: Path) -> bool:
    """Whether this process has locked that very folder, not one that was there before."""
    descriptor = _HELD.get(place)
    if descriptor is None:
        return False
    if os.path.samestat(os.fstat(descriptor), place.stat()):
        return True
    os.close(_HELD.pop(place))
    return False


def release(folder: Path) -> None:
    """Unlocks a folder that this process may hold."""
    descriptor = _HELD.pop(folder.resolve(), None)
    if descriptor is not None:
        os.close(descriptor)
